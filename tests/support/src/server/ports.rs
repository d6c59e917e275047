//! The ports a server listens on, picked among those that nobody uses.

use std::net::TcpListener;

use super::StartError;

/// How far the cluster bus lies above the port where a server has no option for it.
const BUS_DISTANCE: u16 = 10_000;
/// How often a pair of ports at that distance is looked for.
const PAIR_TRIES: u32 = 64;

/// Where the bus of a cluster node listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Bus {
    /// The server is no node of a cluster.
    #[default]
    None,
    /// On a port of its own.
    Free,
    /// At a fixed distance above the port, as with Redis 6.2, which has no option for it.
    Above,
}

/// Which ports a server needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// This port instead of a free one.
    pub(super) fixed: Option<u16>,
    pub(super) bus: Bus,
    /// Whether one for TLS, beside the plain one.
    pub(super) tls: bool,
}

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) bus: Option<u16>,
    pub(super) tls: Option<u16>,
    /// Whether the server is told the port of its bus.
    bus_is_told: bool,
}

impl Wanted {
    /// Ports that are free at this moment.
    pub(super) fn pick(&self) -> Result<Ports, StartError> {
        // All listeners stay open until the last port is known, so that no port is given twice.
        let mut open = Vec::new();
        let mut plain = self.plain(&mut open)?;
        for _ in 0..PAIR_TRIES {
            let bus = match self.bus {
                Bus::None => None,
                Bus::Free => Some(free(&mut open)?),
                Bus::Above => match above(plain, &mut open) {
                    Some(bus) => Some(bus),
                    None => {
                        plain = self.plain(&mut open)?;
                        continue;
                    }
                },
            };
            let tls = if self.tls {
                Some(free(&mut open)?)
            } else {
                None
            };
            return Ok(Ports {
                plain,
                bus,
                tls,
                bus_is_told: self.bus == Bus::Free,
            });
        }
        Err(StartError::new(format!(
            "no two free loopback ports {BUS_DISTANCE} apart were found; close programs that listen on many ports"
        )))
    }

    fn plain(&self, open: &mut Vec<TcpListener>) -> Result<u16, StartError> {
        self.fixed.map_or_else(|| free(open), Ok)
    }
}

impl Ports {
    /// The words that tell a server its ports.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut words = vec!["--port".into(), self.plain.to_string()];
        if let Some(bus) = self.bus.filter(|_| self.bus_is_told) {
            words.extend(["--cluster-port".into(), bus.to_string()]);
        }
        if let Some(tls) = self.tls {
            words.extend(["--tls-port".into(), tls.to_string()]);
        }
        words
    }
}

fn free(open: &mut Vec<TcpListener>) -> Result<u16, StartError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| {
        let port = listener.local_addr()?.port();
        open.push(listener);
        Ok(port)
    });
    listener.map_err(|error| {
        StartError::new(format!(
            "no free loopback port: {error}; check the network limits"
        ))
    })
}

/// The bus port above this one, if it is free.
fn above(port: u16, open: &mut Vec<TcpListener>) -> Option<u16> {
    let bus = port.checked_add(BUS_DISTANCE)?;
    open.push(TcpListener::bind(("127.0.0.1", bus)).ok()?);
    Some(bus)
}
