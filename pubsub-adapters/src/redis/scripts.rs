//! What must happen at once on the server.

use std::sync::LazyLock;

use ::redis::Cmd;

/// A script, called by its digest.
pub(super) struct Script {
    code: &'static str,
    hash: LazyLock<String>,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal,)*) => {
        $(
            $(#[$doc])*
            pub(super) static $name: Script = {
                const CODE: &str = include_str!(concat!("lua/", $file, ".lua"));
                Script { code: CODE, hash: LazyLock::new(|| ::redis::Script::new(CODE).get_hash().to_owned()) }
            };
        )*

        /// Every script, to be loaded on each new connection.
        pub(super) static ALL: &[&Script] = &[$(&$name,)*];
    };
}

scripts! {
    /// Adds an event unless its id is known.
    DEDUP = "dedup",
    /// Keeps an event for later.
    SCHEDULE = "schedule",
    /// Moves events that are due.
    MOVE = "move",
    /// Writes a policy if there is none.
    DECLARE = "declare",
    /// Makes a stream.
    OPEN = "open",
    /// Makes a group.
    CREATE = "create",
    /// Reads from shards that are still held.
    READ = "read",
    /// Looks after a shard.
    TEND = "tend",
    /// Takes everything pending of a shard.
    RECOVER = "recover",
    /// Gives events back.
    GIVE = "give",
    /// Renews leases.
    RENEW = "renew",
    /// Shares the shards of a group.
    SHARE = "share",
    /// Moves a group.
    SEEK = "seek",
    /// Removes a member.
    LEAVE = "leave",
    /// Deletes a group.
    DELETE = "delete",
    /// Removes what every group has settled.
    FORGET = "forget",
    /// What a stream holds.
    LOOK = "look",
}

impl Script {
    /// A call with these keys; arguments are added to it.
    pub(super) fn call(&self, keys: &[&str]) -> Cmd {
        let mut cmd = ::redis::cmd("EVALSHA");
        cmd.arg(self.hash.as_str()).arg(keys.len());
        for key in keys {
            cmd.arg(*key);
        }
        cmd
    }

    /// The command that makes it known to a server.
    pub(super) fn load(&self) -> Cmd {
        let mut cmd = ::redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(self.code);
        cmd
    }
}
