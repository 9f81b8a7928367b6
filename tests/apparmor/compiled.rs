//! The compiled profile, asked as the kernel asks it: by the state machine over the bytes of a path that apparmor_parser(8)
//! makes (its layout: `regex.h` of AppArmor's library, and the kernel's `security/apparmor/match.c`).

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use super::Error;

/// What can be done with a file, as bits of the profile's answer for files of other owners, which holds for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    Execute = 0x01,
    Write = 0x02,
    Read = 0x04,
    Link = 0x10,
    Lock = 0x20,
    Map = 0x40,
}

impl Access {
    /// Its letter in a profile (apparmor.d(5)).
    pub fn letter(self) -> char {
        match self {
            Self::Execute => 'x',
            Self::Write => 'w',
            Self::Read => 'r',
            Self::Link => 'l',
            Self::Lock => 'k',
            Self::Map => 'm',
        }
    }
}

/// Where the permissions for files of other owners begin; those for one's own are before them.
const OTHER: u32 = 14;

/// Numbers of the machine's tables.
const ACCEPT: u16 = 1;
const BASE: u16 = 2;
const CHECK: u16 = 3;
const DEFAULT: u16 = 4;
const EQUIVALENCE: u16 = 5;
const NEXT: u16 = 8;

/// Begins a state machine.
const MAGIC: [u8; 4] = 0x1b5e_783d_u32.to_be_bytes();

/// The rules for files of a profile.
pub struct FileRules {
    tables: HashMap<u16, Vec<u32>>,
}

impl FileRules {
    /// Compiles a profile.
    ///
    /// # Errors
    /// What the parser says of it.
    pub fn of(profile: &Path) -> Result<Self, Error> {
        let mut parser = Command::new("apparmor_parser");
        // Not into the kernel, and no cache; entries that stand for differences are of newer kernels.
        parser.args(["--skip-kernel-load", "--skip-cache", "--Optimize=no-diff-encode", "--stdout"]).arg(profile);
        let output = parser.output().map_err(|error| format!("apparmor_parser (apt-get install apparmor): {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let policy = output.stdout;
        // The last one: those for sockets, signals and mounts come before it.
        let start = policy.windows(4).rposition(|window| window == MAGIC).ok_or("no state machine")?;
        Self::read(&policy[start..]).ok_or_else(|| "the state machine is cut short".into())
    }

    fn read(machine: &[u8]) -> Option<Self> {
        let number = |at: usize, width: usize| -> Option<u32> {
            Some(machine.get(at..at + width)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        };
        let end = number(8, 4)? as usize;
        let mut at = number(4, 4)? as usize;
        let mut tables = HashMap::new();
        while at < end {
            // An entry's width in bytes is also its kind: 1, 2 or 4.
            let (table, width, length) = (number(at, 2)?, number(at + 2, 2)? as usize, number(at + 8, 4)? as usize);
            let entries = (0..length).map(|entry| number(at + 12 + entry * width, width)).collect::<Option<_>>()?;
            tables.insert(u16::try_from(table).ok()?, entries);
            at += (12 + length * width).next_multiple_of(8);
        }
        [ACCEPT, BASE, CHECK, DEFAULT, NEXT].iter().all(|table| tables.contains_key(table)).then_some(Self { tables })
    }

    /// True if the profile allows this with the file, whoever owns it.
    pub fn allow(&self, access: Access, path: &str) -> bool {
        let entry = |table: u16, index: u32| self.tables[&table][index as usize];
        let state = path.bytes().fold(1, |state, byte| {
            let byte = u32::from(byte);
            let class = if self.tables.contains_key(&EQUIVALENCE) { entry(EQUIVALENCE, byte) } else { byte };
            let next = (entry(BASE, state) & 0x00ff_ffff) + class;
            if entry(CHECK, next) == state { entry(NEXT, next) } else { entry(DEFAULT, state) }
        });
        entry(ACCEPT, state) >> OTHER & access as u32 != 0
    }
}
