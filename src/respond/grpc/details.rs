//! The error details of a denied call: a `google.rpc.Status` with an `ErrorInfo`, a `QuotaFailure` if quotas are exceeded,
//! and a `RetryInfo` if waiting helps, in the wire format of protocol buffers.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

/// The reason of a denied call: an `ErrorInfo`.
pub(super) struct Reason<'a> {
    pub(super) code: &'a str,
    pub(super) domain: &'a str,
    /// A JSON object of texts and numbers.
    pub(super) metadata: Option<&'a Value>,
}

/// A quota that is exceeded: a `QuotaFailure.Violation`.
pub(super) struct Violation<'a> {
    /// The owner whose requests the quota counts, as in `account`.
    pub(super) subject: Cow<'a, str>,
    pub(super) api_service: &'a str,
    /// The unit of the quota.
    pub(super) metric: &'a str,
    /// The name of the quota.
    pub(super) id: &'a str,
    pub(super) quota: u32,
}

/// A `google.rpc.Status`.
pub(super) struct Details<'a> {
    pub(super) code: i32,
    pub(super) message: &'a str,
    pub(super) reason: Reason<'a>,
    pub(super) violations: Vec<Violation<'a>>,
    pub(super) wait: Option<Duration>,
}

impl Details<'_> {
    pub(super) fn encode(&self) -> Bytes {
        let mut status = Message::default();
        status.number(1, u64::from(self.code.unsigned_abs()));
        status.text(2, self.message);
        status.message(3, &any("google.rpc.ErrorInfo", &self.reason.message()));
        if !self.violations.is_empty() {
            let mut failure = Message::default();
            self.violations.iter().for_each(|violation| failure.message(1, &violation.message(self.message)));
            status.message(3, &any("google.rpc.QuotaFailure", &failure));
        }
        if let Some(wait) = self.wait {
            let (mut duration, mut info) = (Message::default(), Message::default());
            duration.number(1, wait.as_secs());
            duration.number(2, u64::from(wait.subsec_nanos()));
            info.message(1, &duration);
            status.message(3, &any("google.rpc.RetryInfo", &info));
        }
        status.0.into()
    }
}

impl Reason<'_> {
    fn message(&self) -> Message {
        let mut info = Message::default();
        info.text(1, &upper_snake(self.code));
        info.text(2, self.domain);
        for (name, value) in self.metadata.and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if !value.is_empty() {
                let mut entry = Message::default();
                entry.text(1, name);
                entry.text(2, &value);
                info.message(3, &entry);
            }
        }
        info
    }
}

impl Violation<'_> {
    fn message(&self, description: &str) -> Message {
        let mut violation = Message::default();
        violation.text(1, &self.subject);
        violation.text(2, description);
        violation.text(3, self.api_service);
        violation.text(4, self.metric);
        violation.text(5, self.id);
        violation.number(7, u64::from(self.quota));
        violation
    }
}

/// Returns the code in upper case with underscores, which is the form of an `ErrorInfo`'s reason.
fn upper_snake(code: &str) -> String {
    code.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn any(name: &str, content: &Message) -> Message {
    let mut any = Message::default();
    any.text(1, &format!("type.googleapis.com/{name}"));
    any.message(2, content);
    any
}

/// A protocol buffers message under construction. A field with its default value is omitted, as protocol buffers do.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, field: u8, value: u64) {
        if value != 0 {
            self.0.push(field << 3);
            self.varint(value);
        }
    }

    fn text(&mut self, field: u8, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u8, message: &Self) {
        self.bytes(field, &message.0);
    }

    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.0.push(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }
}
