//! Rules and bounds.

/// The rules of the engine that can be reverted, to see what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// An answer to a renewal acts only on the generation it was asked for.
    pub generations: bool,
    /// What is in doubt is found out or given back.
    pub reconciler: bool,
    /// Waiters are looked after without a message.
    pub safety_poll: bool,
    /// The local deadline counts from when the request was sent, not from its answer.
    pub deadline_from_send: bool,
    /// A renewal never makes a key.
    pub renewal_never_creates: bool,
    /// A hold is out of the books before its release is sent.
    pub unregister_first: bool,
    /// The server ends a connection's predecessor before it is used.
    pub fence: bool,
    /// An answer never extends a hold whose local deadline has passed.
    pub lost_is_for_ever: bool,
}

impl Rules {
    /// As the engine has them.
    pub const ENGINE: Self = Self {
        generations: true,
        reconciler: true,
        safety_poll: true,
        deadline_from_send: true,
        renewal_never_creates: true,
        unregister_first: true,
        fence: true,
        lost_is_for_ever: true,
    };
}

/// How much is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The engine's rules.
    pub rules: Rules,
    /// Faults happen and callers lock before this tick; after it everything comes to its end.
    pub ticks: u8,
    /// The time to live of a hold.
    pub ttl: u8,
    /// What the local deadline stays below it.
    pub margin: u8,
    /// Faults in one execution.
    pub faults: u8,
    /// Ticks by which the server's clock may go ahead in one execution.
    pub slips: u8,
    /// How often each client locks.
    pub rounds: [u8; 2],
    /// Holds of one owner at a time.
    pub most_holds: u8,
    /// Whether holds are renewed.
    pub watched: bool,
    /// Whether to check that what is over stays so.
    pub for_ever: bool,
    /// Whether to look for examples as well.
    pub examples: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rules: Rules::ENGINE,
            ticks: 4,
            ttl: 3,
            margin: 0,
            faults: 2,
            slips: 0,
            rounds: [2, 1],
            most_holds: 2,
            watched: true,
            for_ever: true,
            examples: true,
        }
    }
}
