//! SCRAM credentials that a cluster begins with (`--add-scram`, KIP-900; `ScramParser`, `ScramFormatter`).

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use ottla_base::Str;
use ottla_host::Host;
use ottla_wire::records::metadata::UserScramCredentialRecord;
use sha2::{Digest, Sha256, Sha512};

use super::{FormatError, refused};

const MIN_ITERATIONS: i32 = 4096;
const MAX_ITERATIONS: i32 = 16384;

#[derive(Clone, Copy)]
enum Mechanism {
    Sha256,
    Sha512,
}

impl Mechanism {
    fn from_name(name: &str) -> Option<Mechanism> {
        match name {
            "SCRAM-SHA-256" => Some(Mechanism::Sha256),
            "SCRAM-SHA-512" => Some(Mechanism::Sha512),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Mechanism::Sha256 => "SCRAM_SHA_256",
            Mechanism::Sha512 => "SCRAM_SHA_512",
        }
    }

    fn id(self) -> i8 {
        match self {
            Mechanism::Sha256 => 1,
            Mechanism::Sha512 => 2,
        }
    }

    fn hmac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        const ANY_LENGTH: &str = "a key of any length will do";
        match self {
            Mechanism::Sha256 => {
                let mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY_LENGTH);
                mac.chain_update(text).finalize().into_bytes().to_vec()
            }
            Mechanism::Sha512 => {
                let mac = Hmac::<Sha512>::new_from_slice(key).expect(ANY_LENGTH);
                mac.chain_update(text).finalize().into_bytes().to_vec()
            }
        }
    }

    fn hash(self, text: &[u8]) -> Vec<u8> {
        match self {
            Mechanism::Sha256 => Sha256::digest(text).to_vec(),
            Mechanism::Sha512 => Sha512::digest(text).to_vec(),
        }
    }

    /// RFC 5802's `Hi`: PBKDF2 with one block of output.
    fn salted_password(self, password: &[u8], salt: &[u8], iterations: i32) -> Vec<u8> {
        let mut block = self.hmac(password, &[salt, &[0, 0, 0, 1]].concat());
        let mut sum = block.clone();
        for _ in 1..iterations {
            block = self.hmac(password, &block);
            sum.iter_mut().zip(&block).for_each(|(sum, byte)| *sum ^= byte);
        }
        sum
    }
}

/// Reads `MECHANISM=[name=…,password=…]` or `MECHANISM=[name=…,salt=…,saltedpassword=…]`, each with
/// `iterations=…` or the least number of them.
pub(super) fn credential(host: &Host, argument: &str) -> Result<UserScramCredentialRecord, FormatError> {
    let argument = argument.trim();
    let Some((mechanism_name, list)) = argument.split_once('=') else {
        return refused(format!("Failed to find equals sign in SCRAM argument '{argument}'"));
    };
    let Some(mechanism) = Mechanism::from_name(mechanism_name) else {
        return refused(format!("The add-scram mechanism {mechanism_name} is not supported."));
    };
    let Some(list) = list.strip_prefix('[') else {
        return refused("Expected configuration string to start with [");
    };
    let Some(list) = list.strip_suffix(']') else {
        return refused("Expected configuration string to end with ]");
    };
    let mut parts = split_parts(list)?;
    let Some(name) = parts.remove("name") else {
        return refused("You must supply 'name' to add-scram");
    };
    let given_salt = parts.remove("salt").map(|text| decode("salt", text)).transpose()?;
    let iterations = match parts.remove("iterations") {
        None => MIN_ITERATIONS,
        Some(text) => match text.parse() {
            Ok(iterations) => iterations,
            Err(_) => return refused(format!("Failed to parse iterations count: {text}")),
        },
    };
    let (password, salted) = (parts.remove("password"), parts.remove("saltedpassword"));
    if let Some(salted) = salted.filter(|_| password.is_some()) {
        parts.insert("saltedpassword", salted);
    }
    if !parts.is_empty() {
        let unknown: Vec<&str> = parts.into_keys().collect();
        return refused(format!("Unknown SCRAM configurations: {}", unknown.join(", ")));
    }
    if iterations < MIN_ITERATIONS {
        let name = mechanism.name();
        return refused(format!(
            "The 'iterations' value must be >= {MIN_ITERATIONS} for add-scram using {name}"
        ));
    }
    if iterations > MAX_ITERATIONS {
        let name = mechanism.name();
        return refused(format!(
            "The 'iterations' value must be <= {MAX_ITERATIONS} for add-scram using {name}"
        ));
    }
    let salt_was_given = given_salt.is_some();
    let salt = given_salt.unwrap_or_else(|| random_salt(host));
    let salted_password = match (password, salted) {
        (Some(password), _) => mechanism.salted_password(password.as_bytes(), &salt, iterations),
        (None, Some(salted)) if salt_was_given => decode("saltedPassword", salted)?,
        (None, Some(_)) => return refused("You must supply 'salt' with 'saltedpassword' to add-scram"),
        (None, None) => {
            return refused("You must supply one of 'password' or 'saltedpassword' to add-scram");
        }
    };
    let client_key = mechanism.hmac(&salted_password, b"Client Key");
    Ok(UserScramCredentialRecord {
        name: Str::from(name),
        mechanism: mechanism.id(),
        salt: salt.into(),
        stored_key: mechanism.hash(&client_key).into(),
        server_key: mechanism.hmac(&salted_password, b"Server Key").into(),
        iterations,
        ..Default::default()
    })
}

fn split_parts(list: &str) -> Result<BTreeMap<&str, &str>, FormatError> {
    let mut parts = BTreeMap::new();
    for part in list.split(',') {
        let Some((name, value)) = part.split_once('=') else {
            return refused(format!("No equals sign found in SCRAM component: {part}"));
        };
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        parts.insert(name, quoted.unwrap_or(value));
    }
    Ok(parts)
}

/// A salt as Kafka makes it: the text of a random number.
fn random_salt(host: &Host) -> Vec<u8> {
    let mut bytes = [0; 16];
    host.random_bytes(&mut bytes);
    format!("{:x}", u128::from_be_bytes(bytes)).into_bytes()
}

/// Standard base64 with padding.
fn decode(what: &str, text: &str) -> Result<Vec<u8>, FormatError> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let body = text.trim_end_matches('=');
    let mut bits = 0u32;
    let mut count = 0;
    let mut bytes = Vec::with_capacity(body.len() * 3 / 4);
    for letter in body.bytes() {
        let Some(sextet) = ALPHABET.iter().position(|it| *it == letter) else {
            return refused(format!("Failed to decode given {what}: {text}"));
        };
        bits = bits << 6 | sextet as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    if count == 6 {
        return refused(format!("Failed to decode given {what}: {text}"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    //! Credentials are those that Kafka derives.

    use bytes::Bytes;

    use super::*;

    #[test]
    fn kafka_derives_the_same() {
        // From the example in kafka-storage's tests, as 4.4.0 printed it.
        let argument = "SCRAM-SHA-256=[name=alice,salt=\"MWx2NHBkbnc0ZndxN25vdGN4bTB5Y2UzY3E=\",\
                        iterations=8192,saltedpassword=\"mT0yyUUxnlJaC99HXgRTSYlbuqa4FSGtJCJfTMvjYCE=\"]";
        let record = credential(&Host::simulated(1), argument).unwrap();
        assert_eq!(record.salt, Bytes::from_static(b"1lv4pdnw4fwq7notcxm0yce3cq"));
        let stored: Vec<u8> =
            [93, 50, 42, -96, 113, -24, -34, -53i8].iter().map(|byte| byte.to_be_bytes()[0]).collect();
        assert_eq!(record.stored_key[..8], stored);
        let server: Vec<u8> =
            [101, -82, 119, 71, 108, -124, 52, -124i8].iter().map(|byte| byte.to_be_bytes()[0]).collect();
        assert_eq!(record.server_key[..8], server);
        assert_eq!((record.iterations, record.mechanism), (8192, 1));
    }

    #[test]
    fn a_password_is_salted_as_rfc_7677_says() {
        let salt = decode("salt", "W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let salted = Mechanism::Sha256.salted_password(b"pencil", &salt, 4096);
        assert_eq!(Mechanism::Sha256.hmac(&salted, b"Server Key")[..4], [0xc1, 0xf3, 0xcb, 0xc1]);
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for (argument, words) in [
            ("SCRAM-SHA-256", "Failed to find equals sign in SCRAM argument 'SCRAM-SHA-256'"),
            ("SCRAM-MD5=[]", "The add-scram mechanism SCRAM-MD5 is not supported."),
            ("SCRAM-SHA-256=name=x]", "Expected configuration string to start with ["),
            ("SCRAM-SHA-256=[name=x", "Expected configuration string to end with ]"),
            ("SCRAM-SHA-256=[password=x]", "You must supply 'name' to add-scram"),
            ("SCRAM-SHA-256=[name=x]", "You must supply one of 'password' or 'saltedpassword' to add-scram"),
            (
                "SCRAM-SHA-256=[name=x,saltedpassword=YQ==]",
                "You must supply 'salt' with 'saltedpassword' to add-scram",
            ),
            ("SCRAM-SHA-256=[name=x,password=y,salt=!]", "Failed to decode given salt: !"),
            ("SCRAM-SHA-256=[name=x,password=y,foo=z]", "Unknown SCRAM configurations: foo"),
            (
                "SCRAM-SHA-512=[name=x,password=y,iterations=4095]",
                "The 'iterations' value must be >= 4096 for add-scram using SCRAM_SHA_512",
            ),
        ] {
            let error = credential(&Host::simulated(1), argument).unwrap_err();
            assert_eq!(error.to_string(), words, "{argument}");
        }
    }
}
