//! What a program does with files, by strace(1), in the words of a profile.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Error;
use super::compiled::Access;

/// Options of strace(1): one file for each thread, so that no line is cut in two; paths of descriptors and symbolic links
/// resolved; no text shortened.
pub const OPTIONS: [&str; 8] = [
    "-ff",
    "-y",
    "-s",
    "4096",
    "-e",
    "signal=none",
    "-e",
    "trace=execve,openat,open,creat,connect,bind,sendto,sendmsg,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,chmod,\
     fchmod,fchmodat,chown,fchown,fchownat,link,linkat,symlink,symlinkat,truncate,mmap,flock,fcntl",
];

/// Everything that was done to files, by `program` and whatever it started. `traces` are the files whose names begin with
/// this path. Paths are as the kernel knows them, without symbolic links.
pub fn accesses(traces: &Path, program: &Path) -> Result<BTreeSet<(String, Access)>, Error> {
    let folder = traces.parent().ok_or("no folder")?;
    let prefix = format!("{}.", traces.file_name().and_then(|name| name.to_str()).ok_or("no name")?);
    let mut files: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            files.push(String::from_utf8_lossy(&fs::read(entry.path())?).into_owned());
        }
    }
    let begin = format!("execve(\"{}\"", program.display());
    let mut found = BTreeSet::new();
    for text in files {
        // What ran before the program does not count: the one that gave up root's rights for it.
        let text = text.find(&begin).map_or(text.as_str(), |at| &text[at..]);
        for line in text.lines() {
            let mut needs = of_line(line);
            if line.starts_with(&begin) {
                // It is started by the service manager, which is free to.
                needs.retain(|(_, access)| *access != Access::Execute);
            }
            found.extend(needs.into_iter().map(|(path, access)| (resolved(&path), access)));
        }
    }
    Ok(found)
}

/// What one system call needs.
fn of_line(line: &str) -> Vec<(String, Access)> {
    use Access::{Execute, Link, Lock, Map, Read, Write};
    let Some((name, rest)) = line.split_once('(') else { return Vec::new() };
    let Some((arguments, result)) = rest.rsplit_once(") = ") else { return Vec::new() };
    // Where the file's own permissions refuse, no profile is asked any more.
    let failed = result.starts_with('-') && !result.contains("ECONNREFUSED");
    let texts: Vec<String> = arguments.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    let first = texts.first().cloned();
    let needs = |path: Option<String>, accesses: &[Access]| -> Vec<(String, Access)> {
        path.map(|path| accesses.iter().map(|access| (path.clone(), *access)).collect()).unwrap_or_default()
    };
    match name {
        // A place in the tree (open(2), O_PATH) is no open file.
        _ if failed || arguments.contains("O_PATH") => Vec::new(),
        "execve" => needs(first, &[Execute, Map, Read]),
        "connect" => needs(socket(arguments), &[Read, Write]),
        "bind" | "sendto" | "sendmsg" => needs(socket(arguments), &[Write]),
        "open" | "openat" | "creat" => {
            let path = descriptor(result).or(texts.last().cloned());
            let both = arguments.contains("O_RDWR");
            let mut accesses = Vec::new();
            accesses.extend((both || arguments.contains("O_RDONLY")).then_some(Read));
            accesses.extend((both || arguments.contains("O_WRONLY") || arguments.contains("O_CREAT")).then_some(Write));
            // The name of a directory ends in a slash there.
            let path = path.map(|path| if Path::new(&path).is_dir() { path + "/" } else { path });
            needs(path, &accesses)
        }
        "rename" | "renameat" | "renameat2" => {
            let target = needs(texts.get(1).cloned(), &[Write]);
            [needs(first, &[Read, Write]), target].concat()
        }
        "link" | "linkat" => needs(texts.get(1).cloned(), &[Link]),
        "unlink" | "unlinkat" | "chmod" | "fchmodat" | "chown" | "fchownat" | "symlink" | "truncate" => {
            needs(first.filter(|path| path.starts_with('/')), &[Write])
        }
        "mkdir" | "mkdirat" | "rmdir" => needs(first.map(|path| path + "/"), &[Write]),
        "fchmod" | "fchown" => needs(descriptor(arguments), &[Write]),
        "flock" => needs(descriptor(arguments), &[Lock]),
        "fcntl" if arguments.contains("F_SETLK") || arguments.contains("F_OFD_SETLK") => {
            needs(descriptor(arguments), &[Lock])
        }
        "mmap" if arguments.contains("PROT_EXEC") => needs(descriptor(arguments), &[Map]),
        _ => Vec::new(),
    }
}

/// The path of a socket in an address; `None` for one that is no file.
fn socket(arguments: &str) -> Option<String> {
    let (_, rest) = arguments.split_once("sun_path=\"")?;
    Some(rest.split('"').next()?.to_owned())
}

/// The path that strace writes beside a descriptor; `None` for what is no file.
fn descriptor(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    (path.starts_with('/') && !path.starts_with("/memfd:")).then(|| path.to_owned())
}

/// Without symbolic links: a profile is about files, not about ways to them. The last component may be gone.
fn resolved(path: &str) -> String {
    let slash = if path.ends_with('/') && path.len() > 1 { "/" } else { "" };
    let whole = Path::new(path);
    let real =
        whole.canonicalize().ok().or_else(|| Some(whole.parent()?.canonicalize().ok()?.join(whole.file_name()?)));
    real.map_or(path.to_owned(), |real| format!("{}{slash}", real.display()))
}
