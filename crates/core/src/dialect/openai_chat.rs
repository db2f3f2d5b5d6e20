//! OpenAI's `/chat/completions`.

/// What a compatible server does differently. The default is the server that takes everything and keeps to the definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Which of the two fields for the token limit it takes.
    pub max_tokens: MaxTokens,
    /// It knows no `developer` role: such messages become `system`.
    pub no_developer_role: bool,
    /// It refuses `stream_options`, and sends token counts, if at all, unasked.
    pub no_stream_options: bool,
    /// It wants user and assistant strictly in turn: neighbours of one role are joined.
    pub strict_alternation: bool,
    /// It wants `content` as a text wherever it is only text, never as a list of parts.
    pub text_as_string: bool,
    /// Its streams end without `[DONE]`: every choice finished and a clean end of the connection is then the end.
    pub no_done: bool,
    /// Its word for "some tool must be called" is `any` (Mistral).
    pub tool_choice_any: bool,
    /// How it is told how much to think.
    pub reasoning: ReasoningField,
    /// What becomes of earlier thoughts of the model that a request brings along.
    pub history: History,
    /// Fields of the body that it refuses, by their names on the wire. Tools, schemas, stops and `n` among them are refused to the caller, others dropped by name.
    pub unsupported: &'static [&'static str],
}

/// The field for the limit of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxTokens {
    /// Both: as the caller wrote it, else `max_tokens`.
    #[default]
    AsGiven,
    /// Only `max_tokens`: servers that froze at the first definition.
    Old,
    /// Only `max_completion_tokens`: OpenAI's reasoning models.
    New,
}

/// How a server is told how much to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningField {
    /// As the caller wrote it, else `reasoning_effort`, or `reasoning` where a number of tokens was given.
    #[default]
    AsGiven,
    /// `reasoning_effort`: OpenAI and most.
    Effort,
    /// `reasoning: {effort, max_tokens}`: OpenRouter.
    Object,
    /// Not at all: dropped by name.
    Unsupported,
}

/// How earlier thoughts go back to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// As `reasoning_content`: DeepSeek, vLLM, llama.cpp, SGLang.
    #[default]
    ReasoningContent,
    /// As `reasoning`: OpenRouter, Groq, Cerebras.
    Reasoning,
    /// Not at all: OpenAI refuses such fields.
    Omit,
}
