//! Becoming an ordinary user once the ports are bound.
//!
//! Thread: main, before any other starts.
//! Not here: what may still be read afterwards (`sys::sandbox`).

#![expect(unsafe_code, reason = "identities have no wrapper in the standard library")]

use std::ffi::CString;
use std::io;

/// Becomes `user`, with `group` (empty: the user's own) as the only group. Does nothing where the
/// process already is that user.
///
/// # Errors
/// Unknown names; EPERM where the process may not change its identity.
pub fn become_user(user: &str, group: &str) -> io::Result<()> {
    let (uid, own_gid) = find_user(user)?;
    let gid = if group.is_empty() { own_gid } else { find_group(group)? };
    // SAFETY: neither takes arguments nor can fail.
    let (current_uid, current_gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    if (current_uid, current_gid) == (uid, gid) {
        return Ok(());
    }
    // SAFETY: takes a pointer to one group, which lives through the call.
    check(unsafe { libc::setgroups(1, &raw const gid) })?;
    // SAFETY: takes plain numbers.
    check(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: takes plain numbers. From here on no capability is left.
    check(unsafe { libc::setresuid(uid, uid, uid) })
}

/// Makes sure that no program started later can gain rights (PR_SET_NO_NEW_PRIVS).
///
/// # Errors
/// None on the kernels that peerage runs on.
pub fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

/// The number of the group `name`.
///
/// # Errors
/// A name that no group has.
pub fn group_id(name: &str) -> io::Result<u32> {
    find_group(name)
}

fn find_user(name: &str) -> io::Result<(libc::uid_t, libc::gid_t)> {
    let c_name = CString::new(name)?;
    // SAFETY: the name is a valid C string; only main runs, so the static result is ours to read.
    let entry = unsafe { libc::getpwnam(c_name.as_ptr()) };
    // SAFETY: null or a valid entry until the next call.
    let entry = unsafe { entry.as_ref() };
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("there is no user {name}"));
    entry.map(|entry| (entry.pw_uid, entry.pw_gid)).ok_or_else(unknown)
}

fn find_group(name: &str) -> io::Result<libc::gid_t> {
    let c_name = CString::new(name)?;
    // SAFETY: the name is a valid C string; only main runs, so the static result is ours to read.
    let entry = unsafe { libc::getgrnam(c_name.as_ptr()) };
    // SAFETY: null or a valid entry until the next call.
    let entry = unsafe { entry.as_ref() };
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("there is no group {name}"));
    entry.map(|entry| entry.gr_gid).ok_or_else(unknown)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
