//! The ways to a server: TLS, sockets, names, protocols and runtimes.

mod addresses;
mod kit;
mod tls;
mod topologies;
