//! What a fleet's caches share in Redis.

mod announcements;
mod records;

pub use announcements::RedisAnnouncements;
pub use records::RedisRecords;
