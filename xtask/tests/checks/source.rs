//! Rust source as a list of tokens: without comments, without what stands in strings, and without tests.

/// A word or one sign of punctuation (`::` counts as one), and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As it stands there.
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

/// The tokens of a file.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut out, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let c = at(i);
        if c == '\n' {
            line += 1;
            i += 1;
        } else if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            i = skip_block_comment(&chars, i, &mut line);
        } else if let Some(hashes) = raw_string(&chars, i) {
            i = skip_raw_string(&chars, i, hashes, &mut line);
        } else if c == '"' || (matches!(c, 'b' | 'c') && at(i + 1) == '"') {
            i = skip_quoted(&chars, i + usize::from(c != '"'), '"', &mut line);
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i = skip_quoted(&chars, i, '\'', &mut line);
        } else if c == '_' || c.is_alphanumeric() {
            let start = i;
            while at(i) == '_' || at(i).is_alphanumeric() {
                i += 1;
            }
            out.push(Token { text: chars[start..i].iter().collect(), line });
        } else {
            let double = c == ':' && at(i + 1) == ':';
            if !c.is_whitespace() {
                out.push(Token { text: if double { "::".into() } else { c.to_string() }, line });
            }
            i += if double { 2 } else { 1 };
        }
    }
    out
}

fn skip_block_comment(chars: &[char], mut i: usize, line: &mut usize) -> usize {
    let mut depth = 0;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 1;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 1;
            }
            ('\n', _) => *line += 1,
            _ => {}
        }
        i += 1;
        if depth == 0 {
            break;
        }
    }
    i
}

/// How many `#` a raw string that begins here has.
fn raw_string(chars: &[char], i: usize) -> Option<usize> {
    let before_is_word = i > 0 && (chars[i - 1] == '_' || chars[i - 1].is_alphanumeric());
    let mut j = i;
    if matches!(chars.get(j), Some('b' | 'c')) {
        j += 1;
    }
    if before_is_word || chars.get(j) != Some(&'r') {
        return None;
    }
    let hashes = chars[j + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(j + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn skip_raw_string(chars: &[char], mut i: usize, hashes: usize, line: &mut usize) -> usize {
    while chars[i] != '"' {
        i += 1;
    }
    i += 1;
    while i < chars.len() {
        if chars[i] == '\n' {
            *line += 1;
        }
        let closes =
            chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        i += 1;
        if closes {
            return i + hashes;
        }
    }
    i
}

fn skip_quoted(chars: &[char], mut i: usize, quote: char, line: &mut usize) -> usize {
    i += 1;
    while i < chars.len() && chars[i] != quote {
        if chars[i] == '\n' {
            *line += 1;
        }
        i += if chars[i] == '\\' && chars.get(i + 1) != Some(&'\n') { 2 } else { 1 };
    }
    i + 1
}

/// The tokens of the product, and the modules (`mod tests;`) that are compiled for tests only.
pub fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut modules, mut i) = (Vec::new(), Vec::new(), 0);
    let is = |i: usize, text: &str| tokens.get(i).is_some_and(|t| t.text == text);
    while i < tokens.len() {
        if is(i, "#")
            && is(i + 1, "!")
            && ["[", "cfg", "(", "test", ")"].iter().enumerate().all(|(n, t)| is(i + 2 + n, t))
        {
            return (Vec::new(), modules);
        }
        if !["#", "[", "cfg", "(", "test", ")", "]"].iter().enumerate().all(|(n, t)| is(i + n, t)) {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        i += 7;
        // The item that the attribute stands before: up to its `;`, or to the end of its first block.
        let (mut depth, start) = (0_i32, i);
        while i < tokens.len() {
            match tokens[i].text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            let ends = depth == 0 && (is(i, ";") || is(i, "}"));
            i += 1;
            if ends {
                break;
            }
        }
        let item = &tokens[start..i];
        if let [.., word, name, semicolon] = item
            && word.text == "mod"
            && semicolon.text == ";"
        {
            modules.push(name.text.clone());
        }
    }
    (kept, modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|t| t.text).collect()
    }

    #[test]
    fn comments_and_strings_are_no_tokens() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
        assert_eq!(
            words(r###"a "b \" c" d r#"e " f"# g b"h" i br##"j "# k"## l"###),
            ["a", "d", "g", "i", "l"]
        );
        assert_eq!(words("'a' 'static '\\'' '\\n' b"), ["'", "static", "b"]);
        assert_eq!(words("for_r\"x\""), ["for_r"], "a word that ends in r is no raw string");
    }

    #[test]
    fn lines_are_right_behind_comments_and_strings() {
        let tokens = tokens("\"a\nb\"\n/* c\n */\nr#\"d\n\"#\nhere");
        assert_eq!(tokens, [Token { text: "here".into(), line: 7 }]);
    }

    #[test]
    fn tests_are_left_out() {
        let source = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn b() { { } } }\nfn c() {}\n#[cfg(test)]\nmod more;\n#[cfg(test)]\nuse x::{y, z};\nfn d() {}";
        let (kept, modules) = without_tests(&tokens(source));
        let kept: Vec<&str> =
            kept.iter().map(|t| t.text.as_str()).filter(|t| t.chars().all(char::is_alphabetic)).collect();
        assert_eq!(kept, ["fn", "a", "fn", "c", "fn", "d"]);
        assert_eq!(modules, ["more"]);
        assert_eq!(without_tests(&tokens("#![cfg(test)]\nfn a() {}")).0, []);
    }
}
