//! Requests that leave the process: who they say they are, and whom they trust.
//!
//! Tokens, passwords and authorities stand in files that others rewrite while the daemon runs: a service account's token
//! lives an hour, a certificate authority is replaced. So nothing of them is held for good. A secret is read for each
//! request, and a client is made anew when its authority changed; while a file is missing or half written, what it held
//! last is used. Secrets are never printed.
//!
//! Deliberately absent: tokens that have to be fetched (OAuth2 client credentials, SigV4). A program beside the daemon
//! writes such a token into a file, or signs as a proxy; see `docs/sources.md`.

mod api_server;
mod authorization;
mod secret;
mod transport;

pub use api_server::{ApiServer, Lines, SecretSource};
pub use authorization::{Authorization, Rotating};
pub use secret::{SecretFault, SecretFile};
pub use transport::{FileStamp, Transport, install_tls};
