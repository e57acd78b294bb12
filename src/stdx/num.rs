//! Conversions between number types, each total on the platforms that peerage runs on.
//!
//! Thread: any, pure.
//! Not here: arithmetic; a conversion that can fail is written out where it fails.

// peerage needs io_uring and maps files whole: it is built for 64-bit Linux only.
const _: () = assert!(usize::BITS == 64, "peerage is built for 64-bit targets only");

/// A file offset or length as an index into memory.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits, asserted above")]
pub const fn index(value: u64) -> usize {
    value as usize
}

/// A length in memory as a file offset or a counter's increment.
#[must_use]
pub const fn wide(value: usize) -> u64 {
    value as u64
}

/// A length that is known to be small, as the kernel's 32-bit field. Saturates.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "bounded by the comparison before it")]
pub const fn narrow(value: usize) -> u32 {
    if value > u32::MAX as usize { u32::MAX } else { value as u32 }
}

/// The non-negative result of a system call as a count.
///
/// # Panics
/// If `value` is negative: the caller has handled errors before it counts.
#[must_use]
#[expect(clippy::cast_sign_loss, reason = "asserted non-negative")]
pub const fn count(value: i32) -> usize {
    assert!(value >= 0, "an error code is not a count");
    value as usize
}
