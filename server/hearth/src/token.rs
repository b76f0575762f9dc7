//! `hearth token`: tokens for development, and new keys.

use hearth_auth::{Grant, Minter, mint};
use hearth_core::{DatabaseName, Map};
use hearth_engine::ids;
use hearth_native::json::{Context, to_value};

use crate::args::TokenArgs;
use crate::config::{IssuerSetting, KeyPlace, Settings};
use crate::exit::{Exit, say};
use crate::issuers::{algorithm, now_seconds, read};

/// The issuer of tokens that nobody signed.
const ISSUER_DEV: &str = "hearth-dev";
/// Whom they are for where no project is named.
const AUDIENCE_DEV: &str = "demo";

/// Runs the command.
pub(crate) fn run(args: &TokenArgs, settings: &Settings) -> Result<(), Exit> {
    if args.admin_key || args.secret {
        say(mint::new_secret(ids::random()));
        return Ok(());
    }
    say(token(args, settings, now_seconds())?);
    Ok(())
}

fn token(args: &TokenArgs, settings: &Settings, now_seconds: u64) -> Result<String, Exit> {
    let claims = args.claim.iter().map(|text| claim(text)).collect::<Result<Map, Exit>>()?;
    let grant = |issuer: &str, audience: &str| Grant {
        issuer: issuer.into(),
        audience: audience.into(),
        uid: args.uid.clone().unwrap_or_default(),
        claims: claims.clone(),
        lifetime_seconds: args.ttl,
    };
    let Some(issuer) = choose(args, settings)? else {
        let audience = settings.project.as_deref().unwrap_or(AUDIENCE_DEV);
        let token = mint::unsigned(&grant(ISSUER_DEV, audience), now_seconds).map_err(Exit::usage)?;
        eprintln!("hearth: nobody signed this token, so `hearth dev` believes it and `hearth serve` does not");
        return Ok(token);
    };
    let minter = match (&args.pem, &issuer.key) {
        (Some(path), _) => {
            let pem = read(path).map_err(Exit::failed)?;
            Minter::pem(algorithm(issuer).map_err(Exit::usage)?, &pem)
        }
        (None, KeyPlace::SecretFile(path)) => Minter::secret(&read(path).map_err(Exit::failed)?),
        (None, KeyPlace::PemFile(_) | KeyPlace::JwksFile(_) | KeyPlace::JwksUrl(_)) => {
            let name = &issuer.issuer;
            return Err(Exit::usage(format!(
                "only the private key of {name} can sign for it; name its file with --pem"
            )));
        }
    };
    let mut minter = minter.map_err(Exit::failed)?;
    if let Some(id) = &args.key_id {
        minter = minter.with_key_id(id).map_err(Exit::usage)?;
    }
    let audience = issuer.audiences.first().map_or("", String::as_str);
    minter.mint(&grant(&issuer.issuer, audience), now_seconds).map_err(Exit::usage)
}

/// In whose name: the issuer that was named, or the only one that can be meant; none where none is configured.
fn choose<'a>(args: &TokenArgs, settings: &'a Settings) -> Result<Option<&'a IssuerSetting>, Exit> {
    let names = || settings.issuers.iter().map(|issuer| issuer.issuer.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(name) = &args.issuer {
        let found = settings.issuers.iter().find(|issuer| issuer.issuer == *name);
        let missing =
            || Exit::usage(format!("there is no issuer {name:?} in the configuration; there are: {}", names()));
        return found.map(Some).ok_or_else(missing);
    }
    let can_sign = |issuer: &&IssuerSetting| args.pem.is_some() != matches!(issuer.key, KeyPlace::SecretFile(_));
    let fitting: Vec<&IssuerSetting> = settings.issuers.iter().filter(can_sign).collect();
    match fitting.as_slice() {
        [issuer] => Ok(Some(issuer)),
        [] if settings.issuers.is_empty() && args.pem.is_none() => Ok(None),
        _ => Err(Exit::usage(format!("say in whose name with --issuer; there are: {}", names()))),
    }
}

/// Reads `NAME=VALUE`, where the value is JSON or else text.
fn claim(text: &str) -> Result<(Box<str>, hearth_core::Value), Exit> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| Exit::usage(format!("--claim {text}: NAME=VALUE is expected")))?;
    let json = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::from(value));
    let database = DatabaseName::parse(AUDIENCE_DEV, DatabaseName::DEFAULT).map_err(Exit::failed)?;
    // Claims are plain JSON: `$` means nothing in them.
    let value = to_value(&json, &Context { database: &database, literal: true });
    Ok((name.into(), value.map_err(|error| Exit::usage(format!("--claim {name}: {error}")))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use crate::config::Config;
    use clap::Parser as _;
    use hearth_auth::{Caller, Mode};
    use hearth_core::Value;
    use hearth_native::Authenticate as _;

    fn args(line: &str) -> TokenArgs {
        let words = ["hearth", "token"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Token(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn settings(file: &str) -> Settings {
        let config = Config::build(Some((std::path::Path::new("/hearth.toml"), file)), [], vec![]).unwrap();
        Settings::read(&config).unwrap()
    }

    #[test]
    fn what_is_made_is_believed_where_it_should_be() {
        hearth_auth::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, mint::new_secret([7; 32])).unwrap();
        let file = format!(
            "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithm = \"HS256\"\nkey = {{ secret_file = {secret:?} }}"
        );
        let settings = settings(&file);
        let made =
            token(&args("--uid ada --claim roles=[\"editor\"] --claim team=red"), &settings, now_seconds()).unwrap();
        let keys = crate::issuers::Keys::open(&settings, None).unwrap();
        let Caller::User(user) = keys.caller(Mode::Serve, Some(&made), now_seconds()).unwrap() else { panic!() };
        assert_eq!((&*user.uid, &user.claims["team"]), ("ada", &Value::text("red")));
        assert_eq!(user.claims["roles"], Value::Array(vec![Value::text("editor")]));
    }

    #[test]
    fn without_issuers_it_is_unsigned() {
        hearth_auth::install_crypto();
        let none = settings("");
        let made = token(&args("--uid ada"), &none, now_seconds()).unwrap();
        let keys = crate::issuers::Keys::open(&none, None).unwrap();
        assert_eq!(keys.caller(Mode::Dev, Some(&made), now_seconds()).unwrap().uid(), Some("ada"));
        assert!(keys.caller(Mode::Serve, Some(&made), now_seconds()).is_err());
    }

    #[test]
    fn what_cannot_be_made_says_what_is_missing() {
        let refused = |line: &str, file: &str| token(&args(line), &settings(file), 0).unwrap_err().message;
        let remote =
            "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithm = \"RS256\"\nkey = { jwks_url = \"https://x\" }";
        assert!(refused("--uid a", remote).contains("--issuer; there are: i"));
        assert!(refused("--uid a --issuer i", remote).contains("--pem"));
        assert!(refused("--uid a --issuer j", remote).contains("no issuer \"j\""));
        assert!(refused("--uid a --claim x", "").contains("NAME=VALUE"));
        assert!(refused("--uid a --claim exp=1", "").contains("reserved"));
    }
}
