//! The parts of a fleet's caches that are shared in Redis.

mod announcements;
mod records;

pub use announcements::RedisAnnouncements;
pub use records::RedisRecords;
