//! peerage
//!
//! Not here: yet.
#![deny(unsafe_code)]
pub mod cache;
pub mod http;
pub mod limits;
pub mod config;
pub mod stdx;
pub mod sys;
pub mod time;
