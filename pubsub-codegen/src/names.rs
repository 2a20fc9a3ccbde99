//! Names in other spellings: procedures in camel case, types in Pascal case.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Contract, Contracts};

/// The words of a name: what lies between characters that are neither letters nor digits.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// `speed-tests` as `speedTests`.
pub(crate) fn camel_case(name: &str) -> String {
    let mut words = words(name);
    let Some(first) = words.next() else { return String::new() };
    let mut chars = first.chars();
    let mut out: String = chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect());
    words.for_each(|word| out.push_str(&capitalized(word)));
    out
}

/// `speed-tests` as `SpeedTests`.
pub(crate) fn pascal_case(name: &str) -> String {
    words(name).map(capitalized).collect()
}

/// A name that may be a type's: in ASCII, and not beginning with a digit.
pub(crate) fn type_name(name: &str) -> String {
    let plain: String = pascal_case(name).chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if plain.starts_with(|c: char| c.is_ascii_alphabetic()) { plain } else { format!("T{plain}") }
}

/// Types that the documents have of their own, whatever the catalog holds.
const OWN_TYPES: &[&str] = &[
    "AppRecord",
    "AppRouter",
    "Array",
    "AsyncIterable",
    "Boolean",
    "ChannelInfo",
    "ChannelList",
    "ClientEventName",
    "Cursor",
    "Date",
    "Error",
    "ErrorObject",
    "ErrorResponse",
    "ErrorShape",
    "EventChannels",
    "EventDefinition",
    "EventDefinitions",
    "EventEnvelope",
    "EventMeta",
    "EventOf",
    "EventResults",
    "Events",
    "FetchHistoryInput",
    "GetChannelInfoInput",
    "HealthReport",
    "History",
    "Issue",
    "Item",
    "ListChannelsInput",
    "Map",
    "Mutation",
    "Number",
    "Object",
    "Partial",
    "Promise",
    "PublishInput",
    "PublishOptions",
    "PublishOutput",
    "PublishToChannelInput",
    "Query",
    "Readiness",
    "Record",
    "ResumeInput",
    "SendEventInput",
    "SendEventOutput",
    "SendOptions",
    "ServerEventName",
    "ServiceStatus",
    "Set",
    "SseTicket",
    "String",
    "SubscribeInput",
    "SubscribeOptions",
    "Subscription",
    "SubscriptionStats",
    "Symbol",
    "UndeclaredEventName",
];

/// One name per type, whoever asks for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(BTreeSet<String>);

impl Taken {
    pub(crate) fn by_the_documents() -> Self {
        Self(OWN_TYPES.iter().map(|&name| name.to_owned()).collect())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// The name, or the name with the first number that makes it another one.
    pub(crate) fn claim(&mut self, name: &str) -> String {
        let candidates = std::iter::once(name.to_owned()).chain((2_u32..).map(|number| format!("{name}_{number}")));
        for candidate in candidates {
            if self.0.insert(candidate.clone()) {
                return candidate;
            }
        }
        name.to_owned() // more types than 32 bits can count
    }
}

/// What the types of one version of an event are called.
#[derive(Clone, Debug)]
pub(crate) struct TypeNames {
    pub(crate) payload: String,
    pub(crate) reply: String,
    pub(crate) envelope: String,
}

/// The types of a catalog: that of the newest version has the event's name, older ones end in their version.
#[derive(Debug)]
pub(crate) struct Types {
    names: BTreeMap<(String, u32), TypeNames>,
    pub(crate) taken: Taken,
}

impl Types {
    pub(crate) fn of(contracts: &Contracts) -> Self {
        let mut taken = Taken::by_the_documents();
        let mut names = BTreeMap::new();
        // Newest versions first: they keep the short name when another event's old version would have the same.
        let mut order: Vec<_> = contracts.iter().collect();
        order.sort_by_key(|contract| !contracts.is_newest(contract));
        for contract in order {
            let mut base = type_name(contract.name.as_str());
            if !contracts.is_newest(contract) {
                base = format!("{base}V{}", contract.version);
            }
            let payload = taken.claim(&base);
            let reply = taken.claim(&format!("{payload}Reply"));
            let envelope = taken.claim(&format!("{payload}Envelope"));
            names.insert(key(contract), TypeNames { payload, reply, envelope });
        }
        Self { names, taken }
    }

    pub(crate) fn get(&self, contract: &Contract) -> TypeNames {
        self.names.get(&key(contract)).cloned().unwrap_or_else(|| {
            // Asked for an event of another catalog.
            let payload = format!("{}V{}", type_name(contract.name.as_str()), contract.version);
            TypeNames { reply: format!("{payload}Reply"), envelope: format!("{payload}Envelope"), payload }
        })
    }
}

fn key(contract: &Contract) -> (String, u32) {
    (contract.name.as_str().to_owned(), contract.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_the_contract_says() {
        for (name, camel, pascal) in [
            ("speed-tests", "speedTests", "SpeedTests"),
            ("run-requested", "runRequested", "RunRequested"),
            ("list", "list", "List"),
            ("net.checks_v2", "netChecksV2", "NetChecksV2"),
            ("Already", "already", "Already"),
            ("--", "", ""),
            ("été-über", "étéÜber", "ÉtéÜber"),
        ] {
            assert_eq!((camel_case(name), pascal_case(name)), (camel.to_owned(), pascal.to_owned()), "{name}");
        }
        assert_eq!(type_name("9:lives"), "T9Lives");
        assert_eq!(type_name("über:x"), "T_berX");
    }

    #[test]
    fn the_documents_own_types_are_taken() {
        let (none, taken) = (Contracts::default(), Taken::by_the_documents());
        let types = crate::typescript(&none).unwrap();
        let declared = types.lines().filter_map(|line| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let rest = line.strip_prefix("interface ").or_else(|| line.strip_prefix("type "))?;
            rest.split(|c: char| !c.is_alphanumeric()).next()
        });
        let document = crate::openapi(&none, &crate::DocumentOptions::new("none", "1")).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let own: Vec<&str> = declared.chain(schemas.keys().map(String::as_str)).collect();
        assert!(own.contains(&"AppRouter") && own.contains(&"Readiness"), "{own:?}");
        assert_eq!(own.iter().find(|name| !taken.has(name)), None);
    }

    #[test]
    fn a_type_s_name_is_given_once() {
        let mut taken = Taken::by_the_documents();
        assert_eq!([taken.claim("A"), taken.claim("A"), taken.claim("A")], ["A", "A_2", "A_3"]);
        assert_eq!(taken.claim("EventEnvelope"), "EventEnvelope_2");
    }
}
