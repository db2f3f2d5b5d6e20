//! Answers in the native dialect: lines in and out for [`Framing::Stream`], one document for [`Framing::Whole`]. The documents themselves are in `native.rs`.

use bytes::BytesMut;

use crate::delta::{Delta, Event};
use crate::dialect::native::{self, Line};
use crate::dialect::{Decoder, Encoder, Frame, Framing};
use crate::error::{Error, ErrorKind, Result};
use crate::response::Folder;

pub(super) struct NativeDecoder {
    framing: Framing,
    ended: bool,
}

impl NativeDecoder {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, ended: false }
    }
}

impl Decoder for NativeDecoder {
    fn frame(&mut self, frame: Frame) -> Result<Event> {
        if self.ended {
            return Ok(Event::default());
        }
        let unreadable = |error: Error| error.with_kind(ErrorKind::ProviderProtocol);
        let deltas = match self.framing {
            Framing::Stream => match native::read_line(&frame.data).map_err(unreadable)? {
                Line::Deltas(deltas) => deltas,
                Line::Error(error) => return Err(error),
            },
            Framing::Whole => match native::read_error(&frame.data) {
                Ok(error) => return Err(error),
                Err(_) => native::read_response(&frame.data).map_err(unreadable)?.to_deltas(),
            },
        };
        self.ended = deltas.iter().any(|delta| matches!(delta, Delta::End));
        Ok(deltas.into())
    }

    fn end(&mut self) -> Result<Event> {
        if self.ended {
            return Ok(Event::default());
        }
        Err(Error::protocol("the answer was cut: it ended without its terminal line"))
    }
}

pub(super) struct NativeEncoder {
    framing: Framing,
    folder: Option<Folder>,
}

impl NativeEncoder {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, folder: (framing == Framing::Whole).then(Folder::default) }
    }
}

impl Encoder for NativeEncoder {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        if self.framing == Framing::Stream {
            if !event.deltas.is_empty() {
                out.extend_from_slice(&native::write_line(&event.deltas)?);
            }
            return Ok(());
        }
        let Some(folder) = &mut self.folder else { return Ok(()) };
        event.deltas.iter().for_each(|delta| folder.push(delta));
        if event.deltas.iter().any(|delta| matches!(delta, Delta::End))
            && let Some(folder) = self.folder.take()
        {
            out.extend_from_slice(&native::write_response(&folder.finish()?)?);
        }
        Ok(())
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        out.extend_from_slice(&native::write_error(error));
        if self.framing == Framing::Stream {
            out.extend_from_slice(b"\n");
        }
    }

    fn ping(&mut self, out: &mut BytesMut) {
        // An empty line before a document or between lines is only white space.
        out.extend_from_slice(b"\n");
    }

    fn content_type(&self) -> &'static str {
        match self.framing {
            Framing::Whole => "application/json",
            Framing::Stream => "application/x-ndjson",
        }
    }
}
