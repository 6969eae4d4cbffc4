//! Boxes that a thread uses again, so that a request allocates none.

use std::cell::RefCell;
use std::thread::LocalKey;

/// The unused boxes of a thread.
pub(crate) type Spare<T> = RefCell<Vec<Box<T>>>;

/// The maximum number of unused boxes of a type that a thread keeps.
const MOST: usize = 64;

/// Boxes a value. Uses a spare box if the thread has one.
#[inline]
pub(crate) fn boxed<T>(spare: &'static LocalKey<Spare<T>>, value: T) -> Box<T> {
    match spare.try_with(|spare| spare.borrow_mut().pop()) {
        Ok(Some(mut unused)) => {
            *unused = value;
            unused
        }
        _ => Box::new(value),
    }
}

/// Keeps a box that is not used any more. Its value is dropped when the box is used again.
#[cold]
pub(crate) fn keep<T>(spare: &'static LocalKey<Spare<T>>, unused: Box<T>) {
    let _ = spare.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < MOST {
            spare.push(unused);
        }
    });
}
