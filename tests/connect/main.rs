//! The ways to a server: TLS, sockets, names, protocols and runtimes.

mod kit;
mod tls;
