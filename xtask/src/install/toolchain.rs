//! What compiling everything needs besides Rust: librdkafka is C and C++, built by make against zlib and OpenSSL.

use super::{Consent, apt, runs};
use crate::Fault;
use crate::log::Log;

/// Something that must be there, how it is looked for, and Debian's package of it.
struct Tool {
    program: &'static str,
    arguments: &'static [&'static str],
    package: &'static str,
}

const fn tool(program: &'static str, arguments: &'static [&'static str], package: &'static str) -> Tool {
    Tool { program, arguments, package }
}

const TOOLS: &[Tool] = &[
    tool("cc", &["--version"], "gcc"),
    // The script behind librdkafka compiles its C++ half, too.
    tool("c++", &["--version"], "g++"),
    tool("make", &["--version"], "make"),
    tool("pkg-config", &["--version"], "pkg-config"),
    tool("pkg-config", &["--exists", "zlib"], "zlib1g-dev"),
    tool("pkg-config", &["--exists", "libssl", "libcrypto"], "libssl-dev"),
    // Makes the certificates of the tests.
    tool("openssl", &["version"], "openssl"),
];

/// Gets what is missing, and says what was got.
pub(crate) fn ensure(consent: Consent, log: &mut Log) -> Result<String, Fault> {
    let packages = missing(runs);
    if packages.is_empty() {
        return Ok("all on the machine".into());
    }
    apt::install_with(consent, &packages, log)
        .map_err(|fault| format!("the adapter for Kafka is C and C++: {fault}"))?;
    let left = missing(runs);
    if !left.is_empty() {
        return Err(format!("still missing after they were installed: {}", left.join(", ")).into());
    }
    Ok(format!("got {}", packages.join(", ")))
}

fn missing(runs: impl Fn(&str, &[&str]) -> bool) -> Vec<&'static str> {
    TOOLS.iter().filter(|tool| !runs(tool.program, tool.arguments)).map(|tool| tool.package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_by_its_package() {
        assert!(missing(|_, _| true).is_empty());
        assert_eq!(missing(|program, _| program != "c++"), ["g++"]);
        assert_eq!(missing(|_, arguments| !arguments.contains(&"zlib")), ["zlib1g-dev"]);
        // Without pkg-config nobody can tell whether the headers are there.
        assert_eq!(missing(|program, _| program != "pkg-config"), ["pkg-config", "zlib1g-dev", "libssl-dev"]);
    }
}
