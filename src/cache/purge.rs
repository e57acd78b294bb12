//! stub
pub struct Purge;
impl Purge {
    pub fn matches(&self, _n: &[u8]) -> bool {
        false
    }
    pub fn is_tag(&self) -> bool {
        false
    }
}
