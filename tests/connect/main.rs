//! The ways to a server: TLS, sockets, names, protocols and runtimes.

mod addresses;
mod kit;
mod protocols;
mod runtimes;
mod sharing;
mod tls;
mod topologies;
