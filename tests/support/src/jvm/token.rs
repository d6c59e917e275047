//! Tokens of the line protocol: UTF-8 with percent escapes; `%` alone is the empty text, `-` alone is "absent".

pub(super) fn encode(text: &str) -> String {
    match text {
        "" => return "%".to_owned(),
        "-" => return "%2D".to_owned(),
        _ => {}
    }
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._~:/{}-".contains(&byte) {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("%{byte:02X}"));
        }
    }
    token
}

pub(super) fn decode(token: &str) -> String {
    if token == "%" || token == "-" {
        return String::new();
    }
    let raw = token.as_bytes();
    let digit = |at: usize| {
        raw.get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut bytes = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match (raw[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high * 16 + low);
                at += 3;
            }
            (byte, _, _) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_round_trip() {
        for text in ["", "-", "%", "a b", "{x}:y", "é\n\"+", "-1", "100%2", "%4"] {
            let token = encode(text);
            assert!(!token.is_empty() && !token.contains(' '), "{token}");
            assert_eq!(decode(&token), text);
        }
        assert_eq!(encode("a é"), "a%20%C3%A9");
        assert_eq!(decode("%4"), "%4");
        assert_eq!(decode("%zzé"), "%zzé");
    }
}
