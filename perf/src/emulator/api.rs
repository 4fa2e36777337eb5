//! The OpenAI-style requests and answers, as far as an emulated model can mean them.

use serde::{Deserialize, Serialize};

/// Tokens generated where the request does not say; OpenAI's default.
const DEFAULT_MAX_TOKENS: u32 = 16;

/// Which of the two ways to ask.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/v1/completions`
    Completions,
    /// `/v1/chat/completions`
    Chat,
}

/// A request of either way. Unknown fields are ignored, as servers do.
#[derive(Debug, Deserialize)]
pub struct Ask {
    model: Option<String>,
    prompt: Option<PromptField>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: StreamOptions,
}

/// Text, or token ids.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PromptField {
    Text(String),
    Tokens(Vec<u32>),
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: String,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// A request that can be answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Task {
    /// The prompt's bytes; token ids as 32-bit little-endian integers, four bytes to a token as in text.
    pub prompt: Vec<u8>,
    /// Tokens to generate.
    pub max_tokens: u32,
    /// Whether to stream the answer.
    pub stream: bool,
    /// Whether the stream ends with its usage.
    pub include_usage: bool,
}

/// What is wrong with a request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It is for another model.
    #[error("the model `{model}` does not exist")]
    UnknownModel {
        /// The model asked for.
        model: String,
    },
    /// It has no prompt where its way of asking has one.
    #[error("`{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
}

impl Ask {
    /// Checks the request for a server of `model`.
    ///
    /// # Errors
    ///
    /// [`AskError`].
    pub fn check(self, api: Api, model: &str) -> Result<Task, AskError> {
        if let Some(other) = self.model.filter(|asked| asked != model) {
            return Err(AskError::UnknownModel { model: other });
        }
        let prompt = match api {
            Api::Completions => match self.prompt {
                Some(PromptField::Text(text)) => text.into_bytes(),
                Some(PromptField::Tokens(ids)) => {
                    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
                }
                None => return Err(AskError::Missing { field: "prompt" }),
            },
            Api::Chat => {
                let messages = self
                    .messages
                    .ok_or(AskError::Missing { field: "messages" })?;
                let turns = messages.iter();
                turns
                    .flat_map(|turn| ["<|", &turn.role, "|>\n", &turn.content, "\n"])
                    .collect::<String>()
                    .into_bytes()
            }
        };
        let max_tokens = self.max_completion_tokens.or(self.max_tokens);
        Ok(Task {
            prompt,
            max_tokens: max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
            stream: self.stream,
            include_usage: self.stream_options.include_usage,
        })
    }
}

/// A whole answer, or a chunk of one.
#[derive(Debug, Serialize)]
pub struct Reply<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(flatten)]
    text: Piece<'a>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Piece<'a> {
    Text(&'a str),
    Delta {
        content: &'a str,
    },
    Message {
        role: &'static str,
        content: &'a str,
    },
}

/// What a request took.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// Both.
    pub total_tokens: u32,
    /// More on the prompt.
    pub prompt_tokens_details: PromptDetails,
}

/// More on the prompt.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptDetails {
    /// Tokens that were in the prefix cache.
    pub cached_tokens: u32,
}

impl Usage {
    /// Of a request.
    #[must_use]
    pub const fn new(prompt_tokens: u32, cached_tokens: u32, completion_tokens: u32) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            prompt_tokens_details: PromptDetails { cached_tokens },
        }
    }
}

/// What all parts of one answer have in common.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Which way it was asked for.
    pub api: Api,
    /// Identifier of the answer.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// Name of the model.
    pub model: String,
    /// Names the instance.
    pub fingerprint: String,
}

impl Envelope {
    /// A whole answer.
    #[must_use]
    pub fn whole<'a>(&'a self, text: &'a str, usage: Usage) -> Reply<'a> {
        let (object, text) = match self.api {
            Api::Completions => ("text_completion", Piece::Text(text)),
            Api::Chat => (
                "chat.completion",
                Piece::Message {
                    role: "assistant",
                    content: text,
                },
            ),
        };
        self.reply(object, vec![choice(text, true)], Some(usage))
    }

    /// A chunk of a streamed answer.
    #[must_use]
    pub fn chunk<'a>(&'a self, text: &'a str, finished: bool) -> Reply<'a> {
        let text = match self.api {
            Api::Completions => Piece::Text(text),
            Api::Chat => Piece::Delta { content: text },
        };
        self.reply(self.chunk_object(), vec![choice(text, finished)], None)
    }

    /// The chunk after the last, which has no text.
    #[must_use]
    pub fn usage_chunk(&self, usage: Usage) -> Reply<'_> {
        self.reply(self.chunk_object(), Vec::new(), Some(usage))
    }

    const fn chunk_object(&self) -> &'static str {
        match self.api {
            Api::Completions => "text_completion",
            Api::Chat => "chat.completion.chunk",
        }
    }

    fn reply<'a>(
        &'a self,
        object: &'static str,
        choices: Vec<Choice<'a>>,
        usage: Option<Usage>,
    ) -> Reply<'a> {
        Reply {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage,
        }
    }
}

fn choice(text: Piece<'_>, finished: bool) -> Choice<'_> {
    Choice {
        index: 0,
        text,
        // The model never has enough of itself: it stops because it must.
        finish_reason: finished.then_some("length"),
    }
}

/// An error as OpenAI's clients read it.
#[derive(Debug, Serialize)]
pub struct ErrorReply {
    error: ErrorBody,
}

#[derive(Debug, Serialize)]
struct ErrorBody {
    message: String,
    r#type: &'static str,
    code: u16,
}

impl ErrorReply {
    /// An error of the request's.
    #[must_use]
    pub const fn new(message: String, code: u16) -> Self {
        Self {
            error: ErrorBody {
                message,
                r#type: "invalid_request_error",
                code,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(api: Api, json: &str) -> Result<Task, AskError> {
        serde_json::from_str::<Ask>(json).unwrap().check(api, "m")
    }

    #[test]
    fn both_ways_of_asking_are_understood() {
        let task = check(
            Api::Completions,
            r#"{"prompt": "abc", "stream": true, "n": 1}"#,
        )
        .unwrap();
        assert_eq!(
            (&task.prompt[..], task.max_tokens, task.stream),
            (&b"abc"[..], 16, true)
        );
        let task = check(Api::Completions, r#"{"prompt": [1, 258], "max_tokens": 3}"#).unwrap();
        assert_eq!(task.prompt, [1, 0, 0, 0, 2, 1, 0, 0]);
        let chat = r#"{"model": "m", "messages": [{"role": "user", "content": "hi"}],
            "max_completion_tokens": 9, "stream_options": {"include_usage": true}}"#;
        let task = check(Api::Chat, chat).unwrap();
        assert_eq!(task.prompt, b"<|user|>\nhi\n");
        assert_eq!((task.max_tokens, task.include_usage), (9, true));
    }

    #[test]
    fn what_cannot_be_answered_is_named() {
        let missing = |field| Err(AskError::Missing { field });
        assert_eq!(check(Api::Completions, "{}"), missing("prompt"));
        assert_eq!(
            check(Api::Chat, r#"{"prompt": "abc"}"#),
            missing("messages")
        );
        let other = check(Api::Completions, r#"{"model": "other", "prompt": "abc"}"#);
        assert_eq!(
            other.unwrap_err().to_string(),
            "the model `other` does not exist"
        );
    }

    #[test]
    fn replies_have_the_shape_that_clients_read() {
        let mut envelope = Envelope {
            api: Api::Completions,
            id: "cmpl-1".into(),
            created: 5,
            model: "m".into(),
            fingerprint: "afr-instance-1".into(),
        };
        let usage = Usage::new(7, 4, 2);
        let json = |reply: &Reply<'_>| serde_json::to_value(reply).unwrap();
        let whole = json(&envelope.whole("ab", usage));
        assert_eq!(whole["choices"][0]["text"], "ab");
        assert_eq!(whole["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
        assert_eq!(whole["usage"]["total_tokens"], 9);
        let chunk = json(&envelope.chunk("ab", false));
        assert!(chunk["choices"][0]["finish_reason"].is_null() && chunk.get("usage").is_none());

        envelope.api = Api::Chat;
        let chunk = json(&envelope.chunk("ab", true));
        assert_eq!(chunk["choices"][0]["delta"]["content"], "ab");
        assert_eq!(chunk["choices"][0]["finish_reason"], "length");
        let whole = json(&envelope.whole("ab", usage));
        assert_eq!(whole["choices"][0]["message"]["role"], "assistant");
        assert_eq!(
            json(&envelope.usage_chunk(usage))["choices"],
            serde_json::json!([])
        );
    }
}
