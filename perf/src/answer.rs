//! What the emulated model says: four letters a token, determined by the prompt and the position.
//!
//! So a client that knows its own prompt knows every byte it must get, and that the prompt arrived whole.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::rng;

/// Bytes of text that count as one token, in prompts and in answers.
pub const TOKEN_BYTES: usize = 4;

/// The answer to one prompt.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    seed: u64,
}

impl Answer {
    /// The answer to this prompt.
    #[must_use]
    pub fn to(prompt: &[u8]) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(prompt);
        Self {
            seed: hasher.finish(),
        }
    }

    /// Appends the tokens from the `from`-th up to but without the `to`-th.
    pub fn append(&self, text: &mut String, from: u32, to: u32) {
        for position in from..to {
            let letters = rng::at(self.seed, u64::from(position)).to_le_bytes();
            for letter in &letters[..TOKEN_BYTES] {
                text.push(char::from(b'a' + letter % 26));
            }
        }
    }

    /// The tokens from the `from`-th up to but without the `to`-th.
    #[must_use]
    pub fn tokens(&self, from: u32, to: u32) -> String {
        let mut text = String::with_capacity((to.saturating_sub(from)) as usize * TOKEN_BYTES);
        self.append(&mut text, from, to);
        text
    }
}

/// Tokens of a text: its bytes by [`TOKEN_BYTES`], rounded up.
#[must_use]
pub const fn tokens_in(text: &[u8]) -> u32 {
    let tokens = text.len().div_ceil(TOKEN_BYTES);
    if tokens > u32::MAX as usize {
        u32::MAX
    } else {
        tokens as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_be_taken_in_pieces() {
        let answer = Answer::to(b"prompt");
        let whole = answer.tokens(0, 10);
        assert_eq!(whole.len(), 40);
        assert_eq!(answer.tokens(0, 3) + &answer.tokens(3, 10), whole);
    }

    #[test]
    fn another_prompt_has_another_answer() {
        assert_ne!(
            Answer::to(b"prompt").tokens(0, 4),
            Answer::to(b"Prompt").tokens(0, 4)
        );
        assert_eq!(
            [b"".as_slice(), b"abcd", b"abcde"].map(tokens_in),
            [0, 1, 2]
        );
    }
}
