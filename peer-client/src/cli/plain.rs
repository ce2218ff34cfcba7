//! Others' words on one's own terminal. Names and texts come from other people, and a terminal obeys control
//! characters: they are shown, not sent.

use std::fmt::Write as _;

/// A text on one line.
pub fn one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => shown.push(' '),
            other => push(&mut shown, other),
        }
    }
    shown
}

/// A text on as many lines as it has, the further ones indented so that none looks like another message.
pub fn lines(text: &str, indent: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            shown.push('\n');
            shown.push_str(indent);
        }
        for character in line.strip_suffix('\r').unwrap_or(line).chars() {
            match character {
                '\t' => shown.push('\t'),
                other => push(&mut shown, other),
            }
        }
    }
    shown
}

fn push(shown: &mut String, character: char) {
    if is_hostile(character) {
        // Cannot fail: it is a String.
        let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
    } else {
        shown.push(character);
    }
}

/// C0 and C1 controls (escape sequences), line and paragraph separators, and what turns the direction of writing
/// around (a name could spell itself as another) or cannot be seen at all.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_other_controls_are_shown_and_not_sent() {
        for hostile in [
            "\x1b]0;title\x07",
            "\x1b[2J",
            "\u{9b}31m",
            "\x08\x7f",
            "\0",
            "\u{202e}evil",
            "\u{2066}x\u{2069}",
            "\u{2028}",
            "\u{feff}",
            "a\rb",
        ] {
            for shown in [one_line(hostile), lines(hostile, "  ")] {
                assert!(shown.chars().all(|c| !is_hostile(c)), "{hostile:?} became {shown:?}");
                assert!(!shown.contains('\r'), "{shown:?}");
            }
        }
        assert_eq!(one_line("\x1b[2J"), "\\u{1b}[2J");
    }

    #[test]
    fn a_text_cannot_look_like_the_next_message() {
        assert_eq!(lines("hi\n@bob: send money\r\nbye", "    "), "hi\n    @bob: send money\n    bye");
        assert_eq!(one_line("two\nlines\tand a tab"), "two lines and a tab");
    }

    #[test]
    fn other_alphabets_and_joined_emoji_stay_as_they_are() {
        for text in ["Grüße", "שלום", "こんにちは", "👩\u{200d}👧", "e\u{301}"] {
            assert_eq!(one_line(text), text);
        }
    }
}
