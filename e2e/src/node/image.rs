//! Image archives without a container engine: a binary, the libraries that it is linked with, and what says how it
//! runs, in the layout that `docker save` writes and `ctr images import` reads. As `charts/Dockerfile` lays it out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::{find, space};

/// The user that everything but the pause image runs as: distroless images call it nonroot.
const NONROOT: &str = "65532:65532";
/// A symbolic link of an image, and what it points to.
type Link = (String, String);

/// Writes an archive of `binary` at `/usr/local/bin/NAME`, with its libraries and its other names beside it, under
/// `reference` (`localhost/x:1`: never `latest`, which means to pull always), and returns its path.
///
/// # Errors
/// If the binary cannot be read, or one of its libraries not be found.
pub fn of_binary(folder: &Path, reference: &str, binary: &Path, names: &[&str]) -> Result<PathBuf> {
    let name = binary.file_name().and_then(|name| name.to_str()).context("a binary without a name")?;
    let own = format!("usr/local/bin/{name}");
    let small = folder.join(format!("{name}.stripped"));
    space::run("strip", &["-o", &small.display().to_string(), &binary.display().to_string()])?;
    let mut files = BTreeMap::from([(own.clone(), fs::read(&small)?)]);
    fs::remove_file(&small)?;
    with_libraries(&mut files, binary)?;
    let run = json!({"Entrypoint": [format!("/{own}")], "User": NONROOT, "WorkingDir": "/"});
    let links: Vec<Link> = names.iter().map(|other| (format!("usr/local/bin/{other}"), name.to_owned())).collect();
    write(folder, reference, files, &links, run)
}

/// Writes an archive of the machine's busybox, with every command that it knows, that runs `command`.
///
/// # Errors
/// If there is no busybox.
pub fn busybox(folder: &Path, reference: &str, command: &[&str]) -> Result<PathBuf> {
    let binary = find("busybox").context("busybox is missing")?;
    let names = space::run(&binary.display().to_string(), &["--list"])?;
    let names = names.lines().filter(|name| *name != "busybox");
    let links: Vec<Link> = names.map(|name| (format!("bin/{name}"), "/bin/busybox".to_owned())).collect();
    let mut files = BTreeMap::from([("bin/busybox".to_owned(), fs::read(&binary)?)]);
    with_libraries(&mut files, &binary)?;
    write(folder, reference, files, &links, json!({"Cmd": command}))
}

fn with_libraries(files: &mut BTreeMap<String, Vec<u8>>, binary: &Path) -> Result<()> {
    for library in libraries(binary)? {
        let inside = library.display().to_string().trim_start_matches('/').to_owned();
        files.insert(inside, fs::read(&library).with_context(|| format!("reading {}", library.display()))?);
    }
    Ok(())
}

/// The libraries that a binary is linked with and its loader, as `ldd` says; none for a static one.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let Ok(said) = space::run("ldd", &[&binary.display().to_string()]) else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for line in said.lines().map(str::trim).filter(|line| !line.starts_with("linux-vdso")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, "=>", path, ..] | [path, _] if path.starts_with('/') => all.push(PathBuf::from(path)),
            ["statically", "linked"] => {}
            _ => bail!("{}: {line}", binary.display()),
        }
    }
    Ok(all)
}

/// One layer, its configuration and the manifest that names both, by what they hold.
fn write(
    folder: &Path,
    reference: &str,
    files: BTreeMap<String, Vec<u8>>,
    links: &[Link],
    run: Value,
) -> Result<PathBuf> {
    let layer = layer(files, links)?;
    let mut run = run;
    if let Some(fields) = run.as_object_mut() {
        fields.insert("Env".into(), json!(["PATH=/usr/local/bin:/usr/bin:/bin"]));
    }
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = serde_json::to_vec(&json!({
        "architecture": architecture, "os": "linux", "config": run,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))]},
    }))?;
    let name = format!("{}.json", digest(&config));
    let manifest = json!([{"Config": name, "RepoTags": [reference], "Layers": ["layer.tar"]}]);
    let path = folder.join(format!("{}.tar", reference.replace(['/', ':'], "-")));
    let mut archive = Builder::new(File::create(&path).with_context(|| format!("writing {}", path.display()))?);
    put(&mut archive, "layer.tar", &layer, 0o644)?;
    put(&mut archive, &name, &config, 0o644)?;
    put(&mut archive, "manifest.json", &serde_json::to_vec(&manifest)?, 0o644)?;
    archive.into_inner()?.sync_data()?;
    Ok(path)
}

fn layer(mut files: BTreeMap<String, Vec<u8>>, links: &[Link]) -> Result<Vec<u8>> {
    let people = "root:x:0:0:root:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
    files.insert("etc/passwd".into(), people.into());
    files.insert("etc/group".into(), "root:x:0:\nnonroot:x:65532:\n".into());
    let mut layer = Builder::new(Vec::new());
    let mut folder = Header::new_gnu();
    folder.set_entry_type(EntryType::Directory);
    folder.set_size(0);
    folder.set_mode(0o1777);
    layer.append_data(&mut folder, "tmp/", std::io::empty())?;
    for (name, bytes) in &files {
        let mode = if name.starts_with("etc/") { 0o644 } else { 0o755 };
        put(&mut layer, name, bytes, mode)?;
    }
    for (link, target) in links {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer.append_link(&mut header, link, target)?;
    }
    Ok(layer.into_inner()?)
}

/// A file of root's, of no time: the same content gives the same archive.
fn put(archive: &mut Builder<impl std::io::Write>, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes).with_context(|| format!("putting {name} into an archive"))
}

fn digest(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_names_its_layer_by_what_the_layer_holds() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("ampacity-e2e-image-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let files = BTreeMap::from([("usr/local/bin/x".to_owned(), b"x".to_vec())]);
        let path = write(
            &folder,
            "localhost/x:1",
            files,
            &[("bin/sh".to_owned(), "/bin/busybox".to_owned())],
            json!({"Entrypoint": ["/x"]}),
        )?;
        let mut held = BTreeMap::new();
        for entry in tar::Archive::new(File::open(&path)?).entries()? {
            let mut entry = entry?;
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes)?;
            held.insert(entry.path()?.display().to_string(), bytes);
        }
        fs::remove_dir_all(&folder)?;
        let manifest: Value = serde_json::from_slice(&held["manifest.json"])?;
        let name = manifest.pointer("/0/Config").and_then(Value::as_str).context("no configuration is named")?;
        assert_eq!(manifest, json!([{"Config": name, "RepoTags": ["localhost/x:1"], "Layers": ["layer.tar"]}]));
        assert_eq!(name, format!("{}.json", digest(&held[name])));
        let config: Value = serde_json::from_slice(&held[name])?;
        let layer = format!("sha256:{}", digest(&held["layer.tar"]));
        assert_eq!(config.pointer("/rootfs/diff_ids"), Some(&json!([layer])));
        let mut names = Vec::new();
        for entry in tar::Archive::new(held["layer.tar"].as_slice()).entries()? {
            let entry = entry?;
            names.push((entry.path()?.display().to_string(), entry.header().mode()?));
        }
        let wanted = [
            ("tmp/", 0o1777),
            ("etc/group", 0o644),
            ("etc/passwd", 0o644),
            ("usr/local/bin/x", 0o755),
            ("bin/sh", 0o777),
        ];
        assert_eq!(names, wanted.map(|(name, mode)| (name.to_owned(), mode)));
        Ok(())
    }
}
