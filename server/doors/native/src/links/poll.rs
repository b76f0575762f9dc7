//! A poll link at work: one task between a session and the requests that poll it.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::kept::Kept;
use super::{Answer, Line, Request, Taken, What};
use crate::drive::{Drive, Leaving};

/// A poll that is held.
struct Held {
    answer: oneshot::Sender<Answer>,
    until: Instant,
    ack: u64,
}

impl Held {
    fn answer_with_nothing(self) {
        // A client that is gone does not miss it.
        let _ = self.answer.send(Answer::Polled(Kept::nothing(self.ack)));
    }
}

/// Runs until the client ends the link, breaks its rules, or is not heard of for `idle_max`.
pub(super) async fn run(mut line: Line, drive: Drive, bytes_max: usize, idle_max: Duration) {
    let mut drive = Some(drive);
    let mut kept = Kept::new(bytes_max);
    let mut held: Option<Held> = None;
    let mut contact_at = Instant::now();
    loop {
        while let Some(working) = &mut drive
            && kept.has_room()
        {
            match working.output() {
                Some(Leaving::Message(message)) => kept.push(message),
                Some(Leaving::Ping) => {}
                Some(Leaving::Close(close)) => kept.close(close),
                // What has left may have made room for messages.
                None => match line.take(working) {
                    Taken::Some => {}
                    Taken::Nothing => break,
                    Taken::Gap(problem) => {
                        if let Some(poll) = held {
                            let _ = poll.answer.send(Answer::Refused(problem));
                        }
                        return;
                    }
                },
            }
        }
        if kept.is_closed() {
            // Its listeners end with it; only the last messages remain.
            drive = None;
        }
        let now = Instant::now();
        if let Some(poll) = held.take_if(|poll| kept.has_news() || poll.until <= now || poll.answer.is_closed()) {
            let _ = poll.answer.send(Answer::Polled(kept.answer()));
            contact_at = now;
        }
        let wake_at = held.as_ref().map_or(contact_at + idle_max, |poll| poll.until);
        let ready = kept.has_room();
        tokio::select! {
            request = line.requests.recv() => {
                let Some(request) = request else { return };
                if line.admits(&request.scope, drive.as_ref()) {
                    contact_at = Instant::now();
                }
                if !receive(&mut line, &mut kept, &mut held, drive.as_ref(), request) {
                    return;
                }
            }
            () = turn(&mut drive, ready) => {}
            () = gone(&mut held) => {}
            () = tokio::time::sleep_until(wake_at) => if held.is_none() { return },
        }
    }
}

/// Holds a poll. One at a time: the one before is answered at once.
fn hold(held: &mut Option<Held>, answer: oneshot::Sender<Answer>, wait: Duration, ack: u64) {
    if let Some(earlier) = held.replace(Held { answer, until: Instant::now() + wait, ack }) {
        earlier.answer_with_nothing();
    }
}

/// Takes a request in. `false`: the link is over.
fn receive(line: &mut Line, kept: &mut Kept, held: &mut Option<Held>, drive: Option<&Drive>, request: Request) -> bool {
    let Request { scope, what, answer } = request;
    if !line.admits(&scope, drive) {
        let _ = answer.send(Answer::NotFound);
        return true;
    }
    let What::Post(posted, wait) = what else {
        let _ = answer.send(Answer::Done);
        return false;
    };
    // At once, not after the messages: they may wait for the room that this makes.
    if let Err(problem) = kept.ack(posted.ack.unwrap_or(kept.acked())) {
        let _ = answer.send(Answer::Refused(problem));
        return false;
    }
    match wait {
        None if kept.is_closed() => {
            let _ = answer.send(Answer::NotFound);
        }
        None => line.post(posted.messages, answer),
        Some(_) if !posted.messages.is_empty() && line.sends.is_behind() => {
            let _ = answer.send(Answer::Busy);
        }
        Some(wait) => {
            // The poll does not wait for its messages: what it brings may be what makes room for them.
            if !posted.messages.is_empty() {
                line.sends.push(posted.messages, None);
            }
            hold(held, answer, wait, kept.acked());
        }
    }
    true
}

async fn turn(drive: &mut Option<Drive>, ready: bool) {
    match drive {
        Some(drive) => drive.turn(ready).await,
        None => std::future::pending().await,
    }
}

/// Resolves when the client has given up the poll that is held.
async fn gone(held: &mut Option<Held>) {
    match held {
        Some(poll) => poll.answer.closed().await,
        None => std::future::pending().await,
    }
}
