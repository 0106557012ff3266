//! What a status may hold. The API server refuses one that is over the bounds of its schema, each time again: the words
//! of others (a run's message, labels, names, however many) must never grow it beyond them.

use okra_api::CellStatus;

/// The bounds of `message`.
const MESSAGE: usize = 2048;
/// The bounds of the sentences within.
const SENTENCE: usize = 1024;
/// Less than the schema's 32768: ten of them must fit into an object with room to spare.
const CONDITION: usize = 4096;
/// The bounds of names that people give.
const NAME: usize = 256;
const VERSION: usize = 128;
const BLOCKED: usize = 256;

/// Cuts what is too long. What a status decides by is never among it: those texts are bounded where they come from.
pub(super) fn fit(status: &mut CellStatus) {
    clip(&mut status.message, MESSAGE);
    for condition in &mut status.conditions {
        clip(&mut condition.message, CONDITION);
    }
    status.blocked_versions.truncate(BLOCKED);
    if let Some(rollout) = &mut status.rollout {
        clip(&mut rollout.reason, SENTENCE);
        clip(&mut rollout.by, NAME);
    }
    if let Some(hold) = &mut status.hold {
        clip(&mut hold.message, SENTENCE);
        clip(&mut hold.by, NAME);
    }
    if let Some(request) = &mut status.last_request {
        clip(&mut request.id, VERSION);
        clip(&mut request.user, NAME);
        clip(&mut request.message, SENTENCE);
    }
    for record in &mut status.history {
        clip(&mut record.reason, SENTENCE);
        clip(&mut record.by, NAME);
    }
}

/// Keeps the beginning of a text of more than `most` characters, and shows that it was cut.
pub(super) fn clip(text: &mut String, most: usize) {
    if text.len() > most
        && let Some((cut, _)) = text.char_indices().nth(most.saturating_sub(3))
        && text.chars().nth(most).is_some()
    {
        text.truncate(cut);
        text.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character_and_only_when_it_is_too_long() {
        let clipped = |text: &str| {
            let mut text = text.to_owned();
            clip(&mut text, 5);
            text
        };
        assert_eq!(
            [clipped("12345"), clipped("123456"), clipped("ééééé"), clipped("éééééé")],
            ["12345", "12...", "ééééé", "éé..."]
        );
    }
}
