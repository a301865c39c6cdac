//! What ssh says when there is no way to a machine, and what that means (`man 1 ssh`, ssh.c and sshconnect.c).

use strongroom_domain::FailureCode;

/// What is seen in the words, what it means, and how that is told. The first that fits counts: ssh says the same end to
/// several causes.
const MEANINGS: &[(&[&str], FailureCode, &str)] = &[
    (
        &["REMOTE HOST IDENTIFICATION HAS CHANGED", "host key for", "has changed"],
        FailureCode::DestinationDenied,
        "the machine shows another key than the one it is known by: it was set up anew, or somebody stands in between. Only if \
         you know that it was set up anew, give its new key with 'host_keys'",
    ),
    (
        &["Host key verification failed", "host key is known"],
        FailureCode::DestinationDenied,
        "the machine is not known to this node: give its keys with 'host_keys' (ssh-keyscan prints them; compare them with those \
         on the machine), or add it to the known hosts of the node",
    ),
    (
        &["Load key", "invalid format", "error in libcrypto"],
        FailureCode::DestinationDenied,
        "the private key cannot be read: it must be one of OpenSSH without a passphrase",
    ),
    (
        &["Permission denied", "Too many authentication failures", "No supported authentication methods"],
        FailureCode::DestinationDenied,
        "the machine does not let this user in with this key",
    ),
    (
        &["subsystem request failed"],
        FailureCode::DestinationError,
        "the machine lets this user in, but gives no SFTP",
    ),
    (
        &["failed to execute ssh"],
        FailureCode::ToolMissing,
        "there is no ssh on this node; install the package 'openssh-client'",
    ),
    (
        &["Could not resolve hostname"],
        FailureCode::DestinationUnreachable,
        "the name of the machine is not known",
    ),
    (
        &["not responding", "Connection timed out", "Operation timed out"],
        FailureCode::DestinationUnreachable,
        "the machine does not answer",
    ),
    (&["Connection refused"], FailureCode::DestinationUnreachable, "no SSH server answers there"),
];

/// What it means that ssh has ended with these words.
pub fn meaning(said: &[String]) -> (FailureCode, String) {
    let found = MEANINGS
        .iter()
        .find(|(signs, _, _)| said.iter().any(|line| signs.iter().any(|sign| line.contains(sign))));
    match found {
        Some((_, code, words)) => (*code, (*words).to_owned()),
        None => {
            let last = said.iter().rev().find(|line| !line.trim().is_empty());
            let last = last.map(|line| format!(": {}", line.trim())).unwrap_or_default();
            (FailureCode::DestinationUnreachable, format!("the connection has ended{last}"))
        }
    }
}

/// An option of ssh whose value is a path, as its configuration reads it.
pub fn path_option(name: &str, path: &str) -> String {
    format!("{name}=\"{}\"", path.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(lines: &[&str]) -> FailureCode {
        meaning(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()).0
    }

    #[test]
    fn the_cause_counts_and_not_the_end() {
        let changed = [
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @",
            "Host key for destination has changed and you have requested strict checking.",
            "Host key verification failed.",
        ];
        let (denied, words) = meaning(&changed.map(str::to_owned));
        assert!(denied == FailureCode::DestinationDenied && words.contains("another key"), "{words}");
        let unknown = [
            "No ED25519 host key is known for h and you have requested strict checking.",
            "Host key verification failed.",
        ];
        assert!(meaning(&unknown.map(str::to_owned)).1.contains("not known to this node"));
        assert_eq!(code(&["u@h: Permission denied (publickey)."]), FailureCode::DestinationDenied);
        assert_eq!(
            code(&["ssh: connect to host h port 22: Connection refused"]),
            FailureCode::DestinationUnreachable
        );
        assert_eq!(code(&["Timeout, server h not responding."]), FailureCode::DestinationUnreachable);
        assert_eq!(
            code(&["setpriv: failed to execute ssh: No such file or directory"]),
            FailureCode::ToolMissing
        );
        assert_eq!(
            meaning(&["client_loop: send disconnect: Broken pipe".to_owned(), String::new()]).1,
            "the connection has ended: client_loop: send disconnect: Broken pipe"
        );
    }

    #[test]
    fn a_path_is_one_word_and_no_token() {
        assert_eq!(path_option("IdentityFile", "/a b/%h"), "IdentityFile=\"/a b/%%h\"");
    }
}
