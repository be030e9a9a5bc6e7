//! The names of keys.

/// The keys under a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The stream of a topic.
    pub(crate) fn stream(&self, topic: &str) -> String {
        format!("{}:topic:{topic}", self.prefix)
    }

    /// The declared topics, a set.
    pub(crate) fn topics(&self) -> String {
        format!("{}:topics", self.prefix)
    }

    /// The declared subscriptions, a hash: their topics by their names.
    pub(crate) fn subscriptions(&self) -> String {
        format!("{}:subscriptions", self.prefix)
    }

    /// The entries of a group that wait for their time, a sorted set.
    pub(crate) fn delayed(&self, group: &str) -> String {
        format!("{}:{group}.delayed", self.prefix)
    }

    /// The dead letters of a group, a stream.
    pub(crate) fn dead(&self, group: &str) -> String {
        format!("{}:{group}.dead", self.prefix)
    }
}

/// Whether a topic is of words without wildcards.
pub(crate) fn is_topic(topic: &str) -> bool {
    topic.split('.').all(|word| is_word(word) && word != "*" && word != "#")
}

/// Whether a topic of a subscription can be one: `*` anywhere, `#` at the end.
pub(crate) fn is_pattern(topic: &str) -> bool {
    let words: Vec<&str> = topic.split('.').collect();
    words.iter().all(|word| is_word(word)) && !words[..words.len().saturating_sub(1)].contains(&"#")
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && !word.contains(|letter: char| letter.is_whitespace() || letter.is_control())
}
