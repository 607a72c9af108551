#![doc = include_str!("../ARCHITECTURE.md")]
#![warn(missing_docs)]

pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod engine;
pub mod gate;
pub mod gate_service;
pub mod incident;
pub mod inspect;
pub mod mirror;
pub mod notify;
pub mod outbound;
pub mod prometheus;
pub mod query;
pub mod spec;
pub mod store;
pub mod telemetry;
pub mod web;
