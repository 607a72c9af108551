//! Messages of the two services: what is read of a request and what is said in an answer, by the numbers of their fields
//! (`envoy/service/auth/v3/*.proto`, `crates/protos/proto/ext_mcp.proto` of agentgateway, `google/protobuf/struct.proto`).
//!
//! What a client of the proxy can have a hand in is read as bytes wherever the protocol has text: text that is not UTF-8
//! would make the whole message unreadable, and an answer that is no answer lets through where a proxy fails open. A map is
//! a list of pairs on the wire, and is read as one, so that what is given twice is seen.

use prost::Message;

/// A pair of a map of texts.
#[derive(Clone, PartialEq, Message)]
pub struct Pair {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: bytes::Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: bytes::Bytes,
}

/// What Envoy asks.
#[derive(Clone, PartialEq, Message)]
pub struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Attributes {
    #[prost(message, optional, tag = "4")]
    pub request: Option<AttributesRequest>,
    /// What the route's own settings add.
    #[prost(message, repeated, tag = "10")]
    pub context_extensions: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AttributesRequest {
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// The request of Envoy's client.
#[derive(Clone, PartialEq, Message)]
pub struct HttpRequest {
    #[prost(message, repeated, tag = "3")]
    pub headers: Vec<Pair>,
    /// The same where Envoy is told to send each line by itself.
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderMap>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<RawHeader>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawHeader {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: bytes::Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: bytes::Bytes,
    /// The value, where it may be no text.
    #[prost(bytes = "bytes", tag = "3")]
    pub raw_value: bytes::Bytes,
}

/// What Envoy is told.
#[derive(Clone, PartialEq, Message)]
pub struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub denied: Option<Denied>,
    #[prost(message, optional, tag = "3")]
    pub ok: Option<Ok>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Denied {
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    #[prost(string, tag = "3")]
    pub body: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Ok {
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HeaderOption {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// In place of what the client sent, or beside nothing.
pub const OVERWRITE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub struct Header {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// What agentgateway asks before it sends a call on.
#[derive(Clone, PartialEq, Message)]
pub struct McpRequest {
    #[prost(bytes = "bytes", tag = "2")]
    pub method: bytes::Bytes,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Struct>,
    /// The parameters, as JSON.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub params: Option<bytes::Bytes>,
    #[prost(message, repeated, tag = "5")]
    pub headers: Vec<Pair>,
}

/// What it is told then.
#[derive(Clone, PartialEq, Message)]
pub struct McpRequestResult {
    #[prost(message, optional, tag = "1")]
    pub pass: Option<Pass>,
    #[prost(message, optional, tag = "3")]
    pub error: Option<AuthorizationError>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Struct>,
}

/// What it is told of an answer of a tool. It has the same numbers.
#[derive(Clone, PartialEq, Message)]
pub struct McpResponseResult {
    #[prost(message, optional, tag = "1")]
    pub pass: Option<Pass>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Pass {}

#[derive(Clone, PartialEq, Message)]
pub struct AuthorizationError {
    #[prost(enumeration = "ErrorCode", tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub reason: String,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub mcp_error: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum ErrorCode {
    Unknown = 0,
    PermissionDenied = 1,
    ResourceExhausted = 2,
    Invalid = 3,
}

/// An object of JSON; what is inside of its members' objects and lists is not looked at.
#[derive(Clone, PartialEq, Message)]
pub struct Struct {
    #[prost(message, repeated, tag = "1")]
    pub fields: Vec<Field>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Field {
    #[prost(bytes = "bytes", tag = "1")]
    pub name: bytes::Bytes,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(bytes = "bytes", tag = "3")]
    Text(bytes::Bytes),
    #[prost(bool, tag = "4")]
    Flag(bool),
    #[prost(bytes = "bytes", tag = "5")]
    Object(bytes::Bytes),
    #[prost(bytes = "bytes", tag = "6")]
    List(bytes::Bytes),
}
