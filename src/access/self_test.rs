//! Finds out which rights are missing before a lock is taken.
//!
//! A lock's user has no right to ask the server about rights, so it is tried: every command once, in a script or by itself,
//! on a key nobody uses and in a way that changes nothing (`table::trial`). The server checks rights first and answers a
//! lack of them in words of its own, and any other complaint says that the right is there.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use uuid::Uuid;

use super::{
    Example, Feature, PLACEHOLDER, Place, Rules, commands, covers, names,
    table::{KEY, Trial, trial},
};
use crate::{
    client::Client,
    engine::{
        Engine,
        script::{Command, Script, decimal, script},
        transport::Reply,
        unexpected,
    },
    error::{Error, Refusal, Result},
};

static CHECK: Script = script!("access/check");

/// Every script of this folder, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 1] = [&CHECK];

/// Commands that only look at one key: with one of these each key is tried.
const LOOKS: [&str; 5] = ["pttl", "get", "hget", "exists", "del"];

impl Client {
    /// Checks that the server's user may do what these features take, and says what is missing: every command, and every
    /// pattern of keys and channels, as [`access::rules`](crate::access::rules) would grant them. For the start of a program
    /// or a deployment: a right that is missing shows before a lock is taken.
    ///
    /// It does what the features do, on a name nobody uses (`redlatch-self-test-` and a random number, behind the prefix
    /// or through the name mapper), so it needs no other rights and leaves nothing behind. Five round trips, seven with
    /// [`Feature::TaggedNames`]. The server logs each refusal (`ACL LOG`).
    ///
    /// A server that is full, or a replica for now, does not look like a missing right.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; a key that it makes is gone within the same script.
    ///
    /// # Errors
    ///
    /// [`Error::MissingRights`]; those of any question to the server.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(client: redlatch::Client) -> redlatch::Result<()> {
    /// use redlatch::access::Feature;
    ///
    /// client.self_test([Feature::ReentrantLock, Feature::Inspect]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn self_test(&self, features: impl IntoIterator<Item = Feature>) -> Result<()> {
        self.self_test_under("", features).await
    }

    /// As [`self_test`](Self::self_test), with a name that begins with `prefix`: for users that are confined to a part of
    /// the names by something the client does not know of.
    ///
    /// # Cancel safety
    ///
    /// As [`self_test`](Self::self_test).
    ///
    /// # Errors
    ///
    /// As [`self_test`](Self::self_test).
    pub async fn self_test_under(
        &self,
        prefix: &str,
        features: impl IntoIterator<Item = Feature>,
    ) -> Result<()> {
        let rest = format!("{PLACEHOLDER}-{}", Uuid::new_v4());
        let features = features.into_iter().collect();
        let settings = &self.engine().settings;
        let mut examples = Vec::new();
        for name in names(&features, &rest) {
            let mapped = settings.map_name(&format!("{prefix}{name}"))?;
            let stem = mapped.find(&rest).map(|at| mapped[..at].to_owned());
            examples.push(Example::new(&features, mapped, stem.as_deref(), &rest));
        }
        let test = SelfTest {
            engine: self.engine(),
            name: format!("{prefix}{rest}").into(),
            commands: commands(&features),
            rules: Rules::new(&features, &examples),
            examples,
            missing: BTreeSet::new(),
            message: None,
        };
        test.run().await
    }
}

struct SelfTest<'a> {
    engine: &'a Arc<Engine>,
    name: Arc<str>,
    commands: BTreeSet<&'static str>,
    examples: Vec<Example>,
    rules: Rules,
    /// Rights, as they are granted.
    missing: BTreeSet<String>,
    /// What the server said first.
    message: Option<String>,
}

impl SelfTest<'_> {
    async fn run(mut self) -> Result<()> {
        self.by_themselves().await?;
        for example in self.examples.clone() {
            if self.commands.contains("evalsha") && self.load(&example).await? {
                self.in_a_script(&example).await?;
            }
        }
        // Without PING nobody knows when a subscription is there.
        if self.commands.contains("subscribe") && !self.missing.contains("+ping") {
            self.listening().await?;
        }
        self.verdict()
    }

    /// Commands that no script may run.
    async fn by_themselves(&mut self) -> Result<()> {
        let trials = self
            .commands
            .iter()
            .filter_map(|command| match trial(command)? {
                Trial::Outside(verb, words) => Some((*command, verb, words)),
                _ => None,
            });
        let (engine, name) = (self.engine, &self.name);
        let asked = futures_util::future::join_all(trials.map(async |(command, verb, words)| {
            let words: Vec<_> = words
                .iter()
                .map(|word| Bytes::from_static(word.as_bytes()))
                .collect();
            let words: Vec<_> = words.iter().collect();
            (command, engine.query(name, verb, &words).await)
        }));
        for (command, outcome) in asked.await {
            // What else the server minds, that it is no cluster for example, is no matter of rights.
            let outcome = match outcome {
                Err(Error::Refused {
                    refusal: Refusal::Other,
                    ..
                }) => continue,
                outcome => outcome,
            };
            if let Some(text) = refused(outcome)? {
                self.lacks(format!("+{command}"), text);
            }
        }
        Ok(())
    }

    /// Loads the script that tries the rest. False when there is no point in running it.
    async fn load(&mut self, example: &Example) -> Result<bool> {
        let key = example.name.clone().into();
        let loaded = refused(self.engine.load(&self.name, key, &CHECK).await)?;
        let allowed = loaded.is_none();
        if let Some(text) = loaded {
            self.lacks("+script|load".to_owned(), text);
        }
        Ok(allowed)
    }

    /// Commands, keys and channels that scripts use.
    async fn in_a_script(&mut self, example: &Example) -> Result<()> {
        let key = Bytes::from(example.name.clone());
        let mut args = Vec::new();
        let mut meanings = Vec::new();
        for command in &self.commands {
            let (makes, words) = match trial(command) {
                Some(Trial::Inside(words)) => (false, words),
                Some(Trial::Makes(words)) => (true, words),
                _ => continue,
            };
            push(&mut args, makes, command, words, &key);
            meanings.push(Meaning::Command(command));
        }
        for place in &example.keys {
            for command in LOOKS.iter().filter(|look| self.commands.contains(*look)) {
                let Some(Trial::Inside(words)) = trial(command) else {
                    continue;
                };
                push(
                    &mut args,
                    false,
                    command,
                    words,
                    &Bytes::from(place.name.clone()),
                );
                meanings.push(Meaning::Key(place));
            }
        }
        for place in &example.channels {
            let channel = Bytes::from(place.name.clone());
            for command in ["publish", "spublish"] {
                if self.commands.contains(command) {
                    push(&mut args, false, command, &[KEY, "0"], &channel);
                    meanings.push(Meaning::Channel(command, place));
                }
            }
        }
        let command = Command {
            script: &CHECK,
            keys: vec![key],
            args,
        };
        let outcome = self.engine.read(&self.name, &command).await;
        let answers = match outcome {
            Ok(reply) => self.answers(&reply, meanings.len())?,
            Err(error) => {
                // The script itself was refused: by name, or for its key.
                let text = refused::<Reply>(Err(error))?.unwrap_or_default();
                match (Lack::read(&text), example.keys.first()) {
                    (Some(Lack::Key), Some(place)) => {
                        self.lacks(format!("~{}", place.pattern), text)
                    }
                    _ => self.lacks("+evalsha".to_owned(), text),
                }
                return Ok(());
            }
        };
        for (meaning, text) in meanings.iter().zip(answers) {
            let right = match (meaning, Lack::read(&text)) {
                (Meaning::Command(command), Some(Lack::Command)) => format!("+{command}"),
                (Meaning::Key(place), Some(Lack::Key)) => format!("~{}", place.pattern),
                (Meaning::Channel(command, _), Some(Lack::Command)) => format!("+{command}"),
                (Meaning::Channel(_, place), Some(Lack::Channel)) => format!("&{}", place.pattern),
                _ => continue,
            };
            self.lacks(right, text);
        }
        Ok(())
    }

    fn answers(&self, reply: &Reply, checks: usize) -> Result<Vec<String>> {
        let texts: Option<Vec<String>> = match reply {
            Reply::Array(items) if items.len() == checks => items
                .iter()
                .map(|item| match item {
                    Reply::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        texts.ok_or_else(|| unexpected(&self.name, reply))
    }

    /// Subscriptions, on the connection for messages.
    async fn listening(&mut self) -> Result<()> {
        let places: Vec<Place> = self
            .examples
            .iter()
            .flat_map(|example| example.channels.clone())
            .collect();
        let (heard, ended) = self.listen(&places).await;
        if let Some(text) = refused(heard)? {
            if Lack::read(&text) != Some(Lack::Channel) {
                self.lacks(named(&text, ["ssubscribe", "subscribe"]), text);
            } else if self.missing.contains("+publish") {
                // Otherwise publishing has told already which channel it is.
                for place in &places {
                    let (heard, _) = self.listen(std::slice::from_ref(place)).await;
                    if let Some(text) = refused(heard)? {
                        self.lacks(format!("&{}", place.pattern), text);
                    }
                }
            }
        }
        if let Some(text) = refused(ended)? {
            self.lacks(named(&text, ["sunsubscribe", "unsubscribe"]), text);
        }
        Ok(())
    }

    async fn listen(&self, places: &[Place]) -> (Result<()>, Result<()>) {
        let channels = places.iter().map(|place| place.name.clone().into());
        self.engine
            .try_listening(&self.name, channels.collect())
            .await
    }

    /// Notes a missing right, by the rule that would grant it.
    fn lacks(&mut self, right: String, text: String) {
        let rule = self
            .rules
            .words()
            .into_iter()
            .find(|rule| *rule == right || covers(rule, &right));
        self.message.get_or_insert(text);
        self.missing.insert(rule.unwrap_or(right));
    }

    fn verdict(self) -> Result<()> {
        let missing = &self.missing;
        let mut rights = self.rules.words();
        rights.retain(|right| missing.contains(right));
        match self.message {
            Some(message) => Err(Error::MissingRights { rights, message }),
            None => Ok(()),
        }
    }
}

/// What a check was about.
enum Meaning<'a> {
    Command(&'static str),
    Key(&'a Place),
    Channel(&'static str, &'a Place),
}

/// Adds a check to the arguments of the script.
fn push(args: &mut Vec<Bytes>, makes: bool, command: &str, words: &[&'static str], key: &Bytes) {
    args.push(decimal(u64::from(makes)));
    args.push(decimal(words.len() as u64 + 1));
    args.push(Bytes::copy_from_slice(command.as_bytes()));
    args.extend(words.iter().map(|word| {
        if *word == KEY {
            key.clone()
        } else {
            Bytes::from_static(word.as_bytes())
        }
    }));
}

/// The server's words, where it says that a right is missing. Other refusals say that it is there.
fn refused<T>(outcome: Result<T>) -> Result<Option<String>> {
    match outcome {
        Ok(_) => Ok(None),
        Err(Error::Refused {
            refusal: Refusal::NoPermission,
            message,
            ..
        }) => Ok(Some(message)),
        Err(error) => Err(error),
    }
}

/// The right to a command that the server names, or to the last of these.
fn named(text: &str, commands: [&str; 2]) -> String {
    let sharded = text.contains(&format!("'{}'", commands[0]));
    format!("+{}", if sharded { commands[0] } else { commands[1] })
}

/// Which kind of right the server says is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    Command,
    Key,
    Channel,
}

impl Lack {
    /// Reads what a server says, by itself or in a script. Each version has its own words.
    fn read(text: &str) -> Option<Self> {
        const PHRASES: [(&str, Lack); 10] = [
            // In a script of 6.2.
            ("can't run this command", Lack::Command),
            ("can't access at least one of the keys", Lack::Key),
            ("can't publish to the channel", Lack::Channel),
            // By itself on 6.2.
            ("access one of the keys used", Lack::Key),
            ("access one of the channels used", Lack::Channel),
            // Since 7.0.
            ("No permissions to access a key", Lack::Key),
            ("No permissions to access a channel", Lack::Channel),
            ("no permissions to access a key", Lack::Key),
            ("no permissions to access a channel", Lack::Channel),
            ("has no permissions to run the '", Lack::Command),
        ];
        if let Some((_, lack)) = PHRASES.iter().find(|(phrase, _)| text.contains(phrase)) {
            return Some(*lack);
        }
        if text.contains("no permissions to access the '") {
            let channel = text.trim_end().trim_end_matches('.').contains("' channel");
            return Some(if channel { Self::Channel } else { Self::Key });
        }
        None
    }
}

/// The error of a login that a missing right prevented: the database could not be selected.
pub(crate) fn missing_at_login(message: &str) -> Option<Error> {
    message.contains("'select'").then(|| Error::MissingRights {
        rights: vec!["+select".to_owned()],
        message: message.to_owned(),
    })
}
