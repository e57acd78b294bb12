//! A disk in memory that fails when told to: full, read-only, broken at a given call, or cut off.
//!
//! Thread: tests.
//! Not here: what must hold then (`cache::store::tests`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::cache::disk::{BLOCK_BYTES, Disk, DiskError, Entry, Found, Kind, Space};
use crate::stdx::bytes::Bytes;

/// What a name holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Directory,
    Link,
    File(File),
}

/// A file: its bytes and its head, shared by who has it open.
pub type File = Rc<RefCell<(Vec<u8>, Option<Vec<u8>>)>>;

/// When a call fails.
#[derive(Clone, Copy, Debug, Default)]
pub enum Fault {
    #[default]
    Never,
    /// The call of that number, from 0.
    At(u64, DiskError),
    /// Every call that writes.
    Writes(DiskError),
    /// The machine stops before the call of that number: no call does anything from there on.
    Crash(u64),
}

#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    pub nodes: BTreeMap<Vec<u8>, Node>,
    pub fault: Fault,
    pub calls: u64,
    pub free_bytes: u64,
    pub part_bytes_max: usize,
}

impl MemoryDisk {
    pub fn new() -> Self {
        Self { free_bytes: 1 << 40, part_bytes_max: 255, ..Self::default() }
    }

    /// Puts a file there, with or without head, and the directories above it.
    pub fn put(&mut self, name: &str, bytes: &str, head: Option<&str>) {
        self.directories(name);
        let head = head.map(|head| head.as_bytes().to_vec());
        let file = Rc::new(RefCell::new((bytes.as_bytes().to_vec(), head)));
        self.nodes.insert(name.as_bytes().to_vec(), Node::File(file));
    }

    /// Puts a directory or a link there.
    pub fn put_node(&mut self, name: &str, node: Node) {
        self.directories(name);
        self.nodes.insert(name.as_bytes().to_vec(), node);
    }

    fn directories(&mut self, name: &str) {
        for (at, _) in name.match_indices('/').skip(1) {
            self.nodes.entry(name.as_bytes()[..at].to_vec()).or_insert(Node::Directory);
        }
    }

    /// Every file with its bytes and head, as text.
    pub fn files(&self) -> Vec<(String, String, Option<String>)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let files = self.nodes.iter().filter_map(|(name, node)| match node {
            Node::File(file) => Some((name, file.borrow().clone())),
            _ => None,
        });
        files
            .map(|(name, (bytes, head))| (text(name), text(&bytes), head.map(|head| text(&head))))
            .collect()
    }

    fn call(&mut self, is_write: bool) -> Result<(), DiskError> {
        let number = self.calls;
        self.calls += 1;
        match self.fault {
            Fault::At(at, error) if at == number => Err(error),
            Fault::Writes(error) if is_write => Err(error),
            Fault::Crash(at) if number >= at => Err(DiskError::Io(5)),
            _ => Ok(()),
        }
    }

    fn resolve(&self, name: &[u8]) -> Result<&Node, DiskError> {
        self.parent(name)?;
        self.nodes.get(name).ok_or(DiskError::Missing)
    }

    /// Refuses a name whose directory is not there.
    fn parent(&self, name: &[u8]) -> Result<(), DiskError> {
        let part = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if part.len() > self.part_bytes_max {
            return Err(DiskError::NameTooLong);
        }
        let ends = name.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/');
        for (end, _) in ends {
            match self.nodes.get(&name[..end]) {
                Some(Node::Directory) => {}
                Some(_) => return Err(DiskError::NotDirectory),
                None => return Err(DiskError::Missing),
            }
        }
        Ok(())
    }
}

impl Disk for MemoryDisk {
    type File = File;
    type Directory = Vec<Entry>;

    fn create(&mut self, name: &[u8]) -> Result<File, DiskError> {
        self.call(true)?;
        self.parent(name)?;
        if self.nodes.contains_key(name) {
            return Err(DiskError::Exists);
        }
        let file = File::default();
        self.nodes.insert(name.to_vec(), Node::File(Rc::clone(&file)));
        Ok(file)
    }

    fn write(&mut self, file: &File, at: u64, pieces: &[Bytes]) -> Result<(), DiskError> {
        let result = self.call(true);
        let mut file = file.borrow_mut();
        assert_eq!(file.0.len() as u64, at, "bodies are written in order");
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        let len = if result.is_ok() { bytes.len() } else { bytes.len() / 2 };
        let is_cut_off = matches!(self.fault, Fault::Crash(at) if self.calls > at + 1);
        if !is_cut_off {
            file.0.extend_from_slice(&bytes[..len]);
        }
        result
    }

    fn set_head(&mut self, file: &File, head: &[u8]) -> Result<(), DiskError> {
        self.call(true)?;
        file.borrow_mut().1 = Some(head.to_vec());
        Ok(())
    }

    fn replace_head(&mut self, name: &[u8], head: &[u8]) -> Result<(), DiskError> {
        self.call(true)?;
        match self.resolve(name)? {
            Node::File(file) if file.borrow().1.is_some() => {
                file.borrow_mut().1 = Some(head.to_vec());
                Ok(())
            }
            _ => Err(DiskError::NoAttributes),
        }
    }

    fn look(&mut self, name: &[u8]) -> Result<Found, DiskError> {
        self.call(false)?;
        Ok(match self.resolve(name)? {
            Node::Directory => Found::Directory,
            Node::Link => Found::Other,
            Node::File(file) => match &file.borrow().1 {
                Some(head) => Found::Stored { head: head.clone(), blocks: blocks(file) },
                None => Found::ByHand,
            },
        })
    }

    fn rename(&mut self, from: &[u8], to: &[u8], may_replace: bool) -> Result<(), DiskError> {
        self.call(true)?;
        let node = self.resolve(from)?.clone();
        match self.resolve(to) {
            Ok(_) if !may_replace => return Err(DiskError::Exists),
            Ok(Node::Directory) => return Err(DiskError::IsDirectory),
            Err(DiskError::Missing) => self.parent(to)?,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        self.nodes.remove(from);
        self.nodes.insert(to.to_vec(), node);
        Ok(())
    }

    fn remove(&mut self, name: &[u8]) -> Result<(), DiskError> {
        self.call(true)?;
        if *self.resolve(name)? == Node::Directory {
            return Err(DiskError::IsDirectory);
        }
        self.nodes.remove(name);
        Ok(())
    }

    fn make_directory(&mut self, name: &[u8]) -> Result<(), DiskError> {
        self.call(true)?;
        match self.resolve(name) {
            Ok(_) => Err(DiskError::Exists),
            Err(DiskError::Missing) => {
                self.parent(name)?;
                self.nodes.insert(name.to_vec(), Node::Directory);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn remove_directory(&mut self, name: &[u8]) -> Result<(), DiskError> {
        self.call(true)?;
        if *self.resolve(name)? != Node::Directory {
            return Err(DiskError::NotDirectory);
        }
        let below = [name, b"/"].concat();
        if self.nodes.keys().any(|other| other.starts_with(&below)) {
            return Err(DiskError::Exists);
        }
        self.nodes.remove(name);
        Ok(())
    }

    fn open_directory(&mut self, name: &[u8]) -> Result<Vec<Entry>, DiskError> {
        self.call(false)?;
        if !name.is_empty() && *self.resolve(name)? != Node::Directory {
            return Err(DiskError::NotDirectory);
        }
        let below = [name, b"/"].concat();
        let entry = |(other, node): (&Vec<u8>, &Node)| {
            let last = other.strip_prefix(&below[..])?;
            let kind = match node {
                Node::Directory => Kind::Directory,
                Node::Link => Kind::Other,
                Node::File(_) => Kind::File,
            };
            (!last.contains(&b'/')).then(|| Entry { name: last.to_vec(), kind })
        };
        let mut entries: Vec<Entry> = self.nodes.iter().filter_map(entry).collect();
        entries.reverse();
        Ok(entries)
    }

    fn next_entry(&mut self, directory: &mut Vec<Entry>) -> Result<Option<Entry>, DiskError> {
        self.call(false)?;
        Ok(directory.pop())
    }

    fn space(&mut self) -> Result<Space, DiskError> {
        self.call(false)?;
        Ok(Space { free_bytes: self.free_bytes })
    }
}

fn blocks(file: &File) -> u32 {
    let blocks = (file.borrow().0.len() as u64).div_ceil(BLOCK_BYTES);
    u32::try_from(blocks).unwrap().max(1)
}
