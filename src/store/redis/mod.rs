//! The parts of a fleet's caches that are shared in Redis.

mod invalidation_bus;
mod records;

pub use invalidation_bus::RedisInvalidationBus;
pub use records::RedisRecords;
