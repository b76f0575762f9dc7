//! A case as text: read, and written again with other answers.

/// One file.
pub(crate) struct Case {
    /// The whole text.
    pub(crate) source: String,
    blocks: Vec<Block>,
}

enum Block {
    /// Comments and whatever else stands between empty lines without being a step.
    Prose(String),
    Step {
        text: String,
        request: Request,
    },
}

/// What a step asks.
pub(crate) enum Request {
    Http {
        method: String,
        target: String,
        headers: Vec<(String, String)>,
        body: Option<String>,
    },
    /// A message over the WebSocket.
    Message(String),
}

impl Case {
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        let blocks = source.trim_end().split("\n\n").map(|block| {
            let is_comment = block.lines().all(|line| line.starts_with('#'));
            if is_comment {
                return Ok(Block::Prose(block.into()));
            }
            // A step that has no answer yet gets one from UPDATE=1.
            let asked = block.split_once("\n----").map_or(block, |(asked, _)| asked);
            Ok(Block::Step { text: asked.into(), request: Request::parse(asked)? })
        });
        Ok(Self { source: source.into(), blocks: blocks.collect::<Result<_, String>>()? })
    }

    /// The text again, with these answers.
    pub(crate) fn render(&self, mut answer: impl FnMut(&Request) -> String) -> String {
        let blocks: Vec<String> = self
            .blocks
            .iter()
            .map(|block| match block {
                Block::Prose(text) => text.clone(),
                Block::Step { text, request } => format!("{text}\n----\n{}", answer(request)).trim_end().to_owned(),
            })
            .collect();
        blocks.join("\n\n") + "\n"
    }
}

impl Request {
    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#')).peekable();
        let first = lines.next().ok_or("a step without a request")?;
        let (method, target) = first.split_once(' ').ok_or_else(|| format!("no request: {first}"))?;
        if method == "ws" {
            return Ok(Self::Message(target.into()));
        }
        let mut headers = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with(|c: char| c.is_ascii_uppercase())) {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("no header: {line}"))?;
            headers.push((name.into(), value.into()));
        }
        let body: Vec<&str> = lines.collect();
        let body = (!body.is_empty()).then(|| body.join("\n"));
        Ok(Self::Http { method: method.into(), target: target.into(), headers, body })
    }
}
