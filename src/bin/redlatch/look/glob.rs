//! The server's patterns, for names that the server cannot compare itself because they are inside of keys.

/// Whether `text` is one of those that `pattern` stands for, as the server has it.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where the last star was, and how much of the text it stands for.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            star = Some((at, seen));
            at += 1;
            continue;
        }
        let step = text.get(seen).and_then(|c| one(&pattern[at..], *c));
        if let Some(length) = step {
            (at, seen) = (at + length, seen + 1);
        } else if seen == text.len() && at == pattern.len() {
            return true;
        } else if let Some((before, from)) = star
            && from < text.len()
        {
            star = Some((before, from + 1));
            (at, seen) = (before + 1, from + 1);
        } else {
            return false;
        }
    }
}

/// How long the beginning of a pattern is that stands for one character, where it stands for this one.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        [] => None,
        ['?', ..] => Some(1),
        ['\\', literal, ..] => (*literal == c).then_some(2),
        ['[', set @ ..] => {
            let (length, within) = class(set, c);
            within.then_some(length + 1)
        }
        [literal, ..] => (*literal == c).then_some(1),
    }
}

/// How long a set is behind its bracket, and whether it has this character. One that is never closed ends with the pattern.
fn class(set: &[char], c: char) -> (usize, bool) {
    let negated = set.first() == Some(&'^');
    let (mut at, mut found) = (usize::from(negated), false);
    while let Some(first) = set.get(at) {
        match (first, &set[at + 1..]) {
            (']', _) => return (at + 1, found != negated),
            ('\\', [literal, ..]) => {
                found |= *literal == c;
                at += 2;
            }
            (low, ['-', high, ..]) => {
                found |= (low.min(high)..=low.max(high)).contains(&&c);
                at += 3;
            }
            (literal, _) => {
                found |= *literal == c;
                at += 1;
            }
        }
    }
    (at, found != negated)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_are_the_servers() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "a:{b}"),
            ("a*c", "abbc"),
            ("a**c*", "ac"),
            ("?b", "ab"),
            ("[a-c]x", "bx"),
            ("[^a]x", "bx"),
            ("[c-a]x", "bx"),
            (r"\*", "*"),
            (r"[\]]", "]"),
            ("*ab*ab", "xabyabab"),
            ("锁*", "锁:1"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("a*c", "abd"),
            ("?", ""),
            ("[a-c]", "d"),
            ("[^a]", "a"),
            (r"\*", "a"),
            ("[", "["),
            ("ab", "abc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
