//! Hostile and broken files are refused quickly, in one line.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{NUMBERS, drop_from, job, parsed};
use crate::job_file::{FILE_BYTES_MAX, read_limited};

/// Parses and demands that it is refused within the time that a person waits without noticing.
#[track_caller]
fn refused_quickly(text: &str) -> String {
    let begun = Instant::now();
    let error = parsed(text).expect_err("hostile").to_string();
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "took {took:?}: {}",
        error.lines().next().unwrap()
    );
    error
}

#[test]
fn deep_nesting() {
    for text in [
        "[".repeat(200_000),
        format!("name: {}", "{a: ".repeat(100_000)),
        format!("a: {}{}", "[".repeat(64), "]".repeat(64)),
        (0..70)
            .map(|depth| format!("{}a:\n", " ".repeat(depth)))
            .collect(),
    ] {
        let error = refused_quickly(&text);
        assert!(error.contains("nested more than 64 levels deep"), "{error}");
    }
    // 63 levels inside the file's own map are allowed; they are just no valid job.
    let error = refused_quickly(&format!("a: {}{}", "[".repeat(63), "]".repeat(63)));
    assert!(error.contains("unknown key `a`"), "{error}");
    let error = refused_quickly(&"- ".repeat(200_000));
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn alias_bombs() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let previous = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
    }
    let error = refused_quickly(&text);
    assert!(
        error.contains("more than 250000 values, aliases included"),
        "{error}"
    );
    let error = refused_quickly("a: &a [*a]\n");
    assert!(error.contains("alias"), "{error}");
    refused_quickly("a: *missing\n");
    let mut deep = String::from("a0: &a0 [x]\n");
    for level in 1..80 {
        deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(refused_quickly(&deep).contains("nested more than 64 levels deep"));
}

#[test]
fn an_honest_alias_works() {
    let text = "name: x\nvertices:\n  - &v { id: n, source: sequence, with: { end: 1 } }\n  \
        - { id: a, operator: filter, inputs: [ n ], with: &w { where: { column: value, op: not-null } } }\n  \
        - { id: b, operator: filter, inputs: [ a ], with: *w }\n  - { id: s, sink: blackhole, inputs: [ b ] }\n";
    let graph = parsed(text).unwrap().graph;
    assert_eq!(graph.vertices[1].config_json, graph.vertices[2].config_json);
}

#[test]
fn many_values_and_many_vertices() {
    let many = format!("name: [{}]", "a,".repeat(300_000));
    assert!(refused_quickly(&many).contains("more than 250000 values"));
    let vertices = vec![NUMBERS; 1_001];
    assert!(refused_quickly(&job("", &vertices)).contains("1 to 1000 vertices, this one has 1001"));
    let keys: String = (0..60_000).map(|key| format!("k{key}: 1\n")).collect();
    assert_eq!(refused_quickly(&keys).lines().count(), 20);
    let unknown: Vec<String> = (0..999)
        .map(|n| {
            format!(
                "{{ id: v{n}, sink: blackhole, inputs: [ {} ] }}",
                "w".repeat(900)
            )
        })
        .collect();
    let mut vertices: Vec<&str> = unknown.iter().map(String::as_str).collect();
    vertices.push(NUMBERS);
    refused_quickly(&job("", &vertices));
}

#[test]
fn a_thousand_vertices_are_fine() {
    let mut vertices = vec![NUMBERS.to_owned()];
    let mut from = "numbers".to_owned();
    for index in 0..998 {
        vertices.push(format!(
            "{{ id: f{index}, operator: filter, inputs: [ {from} ], with: {{ where: {{ column: value, op: not-null }} }} }}"
        ));
        from = format!("f{index}");
    }
    vertices.push(drop_from(&from));
    let vertices: Vec<&str> = vertices.iter().map(String::as_str).collect();
    assert_eq!(
        parsed(&job("", &vertices)).unwrap().graph.vertices.len(),
        1_000
    );
}

#[test]
fn schemas_are_bounded() {
    let columns: String = (0..1_000).map(|n| format!("column{n}: utf8, ")).collect();
    let source = format!(
        "{{ id: n, source: files, with: {{ path: in, format: csv, columns: {{ {columns} }} }} }}"
    );
    let mut vertices = vec![source];
    for index in 0..60 {
        vertices.push(format!(
            "{{ id: d{index}, sink: blackhole, inputs: [ n ] }}"
        ));
    }
    let vertices: Vec<&str> = vertices.iter().map(String::as_str).collect();
    let error = refused_quickly(&job("", &vertices));
    assert!(
        error.contains("more than 50000 columns together"),
        "{error}"
    );
}

#[test]
fn huge_and_binary_texts() {
    let huge = "#".repeat(FILE_BYTES_MAX + 1);
    assert!(refused_quickly(&huge).contains("larger than 1 MiB"));
    assert!(refused_quickly("name: a\0b\n").contains("binary file"));
    let padded = format!(
        "{}\n{}",
        job("", &[NUMBERS, &drop_from("numbers")]),
        "#".repeat(900_000)
    );
    parsed(&padded).unwrap();
}

#[test]
fn files_are_read_with_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::File::create(&path)
            .unwrap()
            .write_all(bytes)
            .unwrap();
        path
    };
    let message = |path: &std::path::Path| read_limited(path).unwrap_err().to_string();
    assert_eq!(
        read_limited(&write("ok.yaml", "name: ä\n".as_bytes())).unwrap(),
        "name: ä\n"
    );
    let huge = dir.path().join("huge.yaml");
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert!(
        message(&huge).ends_with("the most that a job file may be"),
        "{}",
        message(&huge)
    );
    let binary = message(&write("a.bin", &[0x7f, b'E', b'L', b'F', 0, 0]));
    assert!(
        binary.contains("this is a binary file, not YAML or JSON: it holds zero bytes"),
        "{binary}"
    );
    let latin = message(&write("latin.yaml", b"name: a\nvertices: \xe4\n"));
    assert!(latin.contains("line 2 isn't UTF-8"), "{latin}");
    assert!(message(dir.path()).contains("this is a directory"));
    assert!(message(&dir.path().join("absent.yaml")).contains("can't read the job file"));
    assert_eq!(message(&huge).lines().count(), 1);
}

#[test]
fn a_mebibyte_of_one_scrap() {
    for scrap in [
        "? ",
        "&a ",
        "!a ",
        "'",
        "\"",
        "|\n",
        ">\n ",
        "a: ",
        "a:\n",
        "- ",
        "-\n",
        "# c\n",
        "{",
        "{a: ",
        "[a,",
        ",",
        "%TAG ",
        "...\n",
        "---\n",
        "*a ",
        "<<: *a\n",
        "\t",
        "\n",
        " ",
        "é",
        "\u{feff}",
        "a",
        "\"\\u0041\" ",
        "a: b\n ",
        "x: &a\n",
        "?\n:",
        "[]",
        "{}: ",
        "\r",
        "@",
        "`",
        "0",
        "- !!str a\n",
    ] {
        let text = scrap.repeat(FILE_BYTES_MAX / scrap.len());
        let begun = Instant::now();
        let error = parsed(&text).expect_err("no job").to_string();
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{scrap:?} took {took:?}");
        assert!(
            error.lines().all(|line| line.len() < 500),
            "{scrap:?}: {error}"
        );
    }
}
