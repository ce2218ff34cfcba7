//! Words that people choose for themselves and others read beside a handle: names, and lines about oneself. The one
//! rule that makes them harmless: nothing that cannot be seen, nothing that turns the direction of writing, nothing that
//! runs out of its line. Who somebody *is* the handle alone says.

/// Marks that combine with the letter before them, kept in a row: more of them paint over other lines.
const MARKS: usize = 3;

/// The words on one line; `None` if there is nothing to see.
pub fn plain(text: &str) -> Option<String> {
    let mut shown = String::with_capacity(text.len());
    let (mut space, mut marks) = (false, 0);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character.is_whitespace() {
            space = !shown.is_empty();
            continue;
        }
        let joins = character == JOINER
            && !space
            && shown.chars().rev().find(|c| !is_variation(*c)).is_some_and(is_pictograph)
            && characters.peek().is_some_and(|next| is_pictograph(*next));
        if is_invisible(character) && !joins {
            continue;
        }
        marks = if is_mark(character) { marks + 1 } else { 0 };
        if marks > MARKS {
            continue;
        }
        if std::mem::take(&mut space) {
            shown.push(' ');
        }
        shown.push(character);
    }
    // Marks alone have nothing to stand on.
    shown.chars().any(|c| !is_mark(c) && c != ' ').then_some(shown)
}

/// A name: [`plain`], and without marks of handles, so that none can pass for `@somebody`.
pub fn display_name(text: &str) -> Option<String> {
    let words = plain(text)?;
    let names = words.split(' ').map(|word| {
        let name = word.trim_start_matches(AT);
        // An @ that stands alone is a word.
        if name.is_empty() && word.len() == 1 { word } else { name }
    });
    plain(names.collect::<Vec<_>>().join(" ").trim_start_matches([AT[0], ' ']))
}

/// What a handle begins with, and what looks like it.
const AT: [char; 3] = ['@', '\u{fe6b}', '\u{ff20}'];

const JOINER: char = '\u{200d}';

/// Controls, format characters (Unicode's Cc and Cf), line and paragraph separators, and letters that are blank.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}'
            | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// What chooses between a symbol's drawn and coloured form.
fn is_variation(character: char) -> bool {
    matches!(character, '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}')
}

fn is_pictograph(character: char) -> bool {
    matches!(character, '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

fn is_mark(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}' | '\u{fe0e}' | '\u{fe0f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_seen_or_turns_the_line_goes() {
        for (raw, shown) in [
            ("Bo\u{200b}ok\u{2060} club", "Book club"),
            ("\u{202e}ecila\u{202c}", "ecila"),
            ("al\u{200d}ice", "alice"),
            (" two\n\t lines \u{2028}more ", "two lines more"),
            ("\u{1b}[31mred", "[31mred"),
            ("a\u{e0041}b\u{f0000}", "ab"),
        ] {
            assert_eq!(plain(raw).as_deref(), Some(shown), "{raw:?}");
        }
        for nothing in ["", " ", "\u{200b}\u{feff}", "\u{3164}", "\u{301}\u{301}", "\u{fe0f}", "\u{2800}"] {
            assert_eq!(plain(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn other_alphabets_accents_and_joined_emoji_stay() {
        for text in
            ["Grüße", "שלום", "こんにちは", "नमस्ते", "👩\u{200d}👧", "🏳\u{fe0f}\u{200d}🌈", "e\u{301}", "👍🏽"]
        {
            assert_eq!(plain(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_tower_of_marks_is_cut() {
        let tower = format!("a{}b", "\u{30d}".repeat(60));
        assert_eq!(plain(&tower), Some(format!("a{}b", "\u{30d}".repeat(MARKS))));
    }

    #[test]
    fn a_display_name_cannot_pass_for_a_handle() {
        assert_eq!(display_name("@ @alice").as_deref(), Some("alice"));
        assert_eq!(display_name("\u{200b}＠alice").as_deref(), Some("alice"));
        assert_eq!(display_name("@"), None);
        assert_eq!(display_name("Alice @ work").as_deref(), Some("Alice @ work"));
        assert_eq!(display_name("bob @bob a@b").as_deref(), Some("bob bob a@b"));
    }

    proptest! {
        #[test]
        fn plain_words_stay_plain(text in ".*") {
            if let Some(shown) = plain(&text) {
                prop_assert_eq!(plain(&shown), Some(shown.clone()));
                prop_assert!(shown.len() <= text.len());
                prop_assert!(!shown.chars().any(|c| is_invisible(c) && c != JOINER));
            }
        }
    }
}
