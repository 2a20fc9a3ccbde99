//! Inputs out of other inputs: small, and the same for the same seed.

/// Longer inputs are cut.
const MAX_LEN: usize = 16 * 1024;

/// What our readers look for, and what readers in general stumble over.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "-0",
    "1e400",
    "0.1",
    "4294967296",
    "18446744073709551616",
    "\n",
    "\n\n",
    ": ",
    " ",
    "\u{0}",
    "\u{7f}",
    "\u{feff}",
    "é",
    "🦀",
    "%",
    "%ff",
    "%00",
    "%25",
    "\"id\":",
    "\"name\":",
    "\"channel\":",
    "\"payload\":",
    "\"payloadBase64\":",
    "\"contentType\":",
    "\"timestamp\":",
    "\"meta\":{",
    "\"version\":",
    "\"key\":",
    "\"source\":\"api\"",
    "\"deadline\":",
    "\"~key\":",
    "\"foreignId\":",
    "\"specversion\":\"1.0\",",
    "\"type\":",
    "\"time\":",
    "\"subject\":",
    "\"data\":",
    "\"data_base64\":",
    "\"datacontenttype\":",
    "\"pubsubmeta\":\"{}\",",
    "\"pubsubtombstone\":true,",
    "ce_id: ",
    "ce_type: ",
    "ce_subject: ",
    "ce_pubsubmeta: {}",
    "ce_pubsubtombstone: true",
    "content-type: ",
    "ce_eventversion: 1\n",
    "traceparent: ",
    "a:b",
    "application/json",
    "text/plain",
    "application/cloudevents+json",
    "2023-11-14T22:13:20.000Z",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999Z",
    "-23:59",
    "+00:00",
    "[UTC]",
    "_dlq.",
    "_retry.",
    "*",
    ".*",
    ":*",
    "mem:",
    "1-2",
];

/// SplitMix64 by Steele, Lea and Flood: enough chance for a fuzzer, and no dependency.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A part of `bytes`.
    fn part<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.below(bytes.len() + 1);
        let len = self.below((bytes.len() - start).min(256) + 1);
        &bytes[start..start + len]
    }
}

/// An input made of nothing but chance.
pub(crate) fn random(chance: &mut Chance) -> Vec<u8> {
    let len = chance.below(256);
    match chance.below(3) {
        0 => (0..len).map(|_| chance.next() as u8).collect(),
        1 => (0..len).map(|_| b' ' + chance.below(95) as u8).collect(),
        _ => (0..len / 8).flat_map(|_| TOKENS[chance.below(TOKENS.len())].bytes()).collect(),
    }
}

/// An input a few steps away from one of the pool.
pub(crate) fn mutated(pool: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    if pool.is_empty() {
        return random(chance);
    }
    let mut input = pool[chance.below(pool.len())].clone();
    for _ in 0..=chance.below(4) {
        step(&mut input, pool, chance);
        input.truncate(MAX_LEN);
    }
    input
}

fn step(input: &mut Vec<u8>, pool: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(input.len() + 1);
    match chance.below(9) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << chance.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = chance.next() as u8;
            }
        }
        2 => input.truncate(at),
        3 => {
            let end = at + chance.below((input.len() - at).min(64) + 1);
            input.drain(at..end);
        }
        4 => {
            let part = chance.part(input).to_vec();
            splice(input, at, &part);
        }
        5 => {
            let other = &pool[chance.below(pool.len())];
            splice(input, at, chance.part(other));
        }
        6 => {
            // One input's head and the other's tail.
            let other = &pool[chance.below(pool.len())];
            let from = chance.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        7 => {
            let unit = chance.part(input).to_vec();
            let times = chance.below(64);
            let many = unit.repeat(times);
            splice(input, at, &many);
        }
        _ => splice(input, at, TOKENS[chance.below(TOKENS.len())].as_bytes()),
    }
}

fn splice(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    input.splice(at..at, part.iter().copied());
}
