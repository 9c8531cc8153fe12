use super::*;

fn of(config: &str) -> Redactor {
    Redactor::new(config, &BTreeMap::new())
}

fn with(variables: &[(&str, &str)]) -> Redactor {
    Redactor::new("", &variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

#[test]
fn the_secrets_in_a_url_are_taken_out() {
    let config = "sas_url = https://h.example/c?sv=2026-01-01&sig=abc%2Bdef\nurl = https://user:passw0rd@h.example/";
    assert_eq!(
        of(config)
            .clean("PUT https://h.example/c/x?comp=block&sig=abc%2Bdef as user with passw0rd, abc%2Bdef or abc+def"),
        "PUT https://h.example/c/x?*** as user with ***, *** or ***"
    );
}

#[test]
fn a_signature_is_taken_out_however_its_padding_is_spelled() {
    let redactor = of("url = https://h.example/c?sig=a%2Bbc==");
    for spelled in ["a%2Bbc==", "a%2Bbc%3D%3D"] {
        assert!(!redactor.clean(&format!("signature {spelled}")).contains("a%2Bbc"), "{spelled}");
    }
}

#[test]
fn a_secret_is_known_however_it_is_spelled() {
    let redactor = of("pass = a\"b\\c/d e");
    for spelled in [r#"a"b\c/d e"#, r#"a\"b\\c/d e"#, "a%22b%5Cc%2Fd%20e"] {
        assert_eq!(redactor.clean(&format!("<{spelled}>")), "<***>");
    }
}

#[test]
fn values_and_broken_lines_are_taken_out() {
    let config = "[m]\ntype = s3\nprovider = Minio\nsecret_access_key = topsecret\n# note\nbroken SECRETXYZ line\n[broken section\npassword=topsecret2\nbool = true\nchunk_size = hunter2hunter2\n";
    assert_eq!(
        of(config).clean("s3 Minio topsecret topsecret2 hunter2hunter2: could not parse line: broken SECRETXYZ line; true; [m]; [broken section"),
        "s3 Minio *** *** ***: could not parse line: ***; true; [m]; ***"
    );
}

#[test]
fn addresses_stay() {
    let config = "[store]\ntype = sftp\nhost = backup1.h.example\nuser = etcd\nport = 22222\nkey_file = /etc/backup-key-1\nendpoint = https://etcd@s3.h.example:9000/path1\nregion = eu-south-1\nstorage_class = STANDARD_IA\nfilename_encryption = standard\naccount = etcdbackup0001\nknown_hosts_file = /config/known_hosts1\nremote = minio0000:etcd-backups-0000/prod\nclient_id = 12345678-1234\nssh = ssh -p 2222 -i /etc/key etcd@backup1.h.example\nauth_url = https://keystone1.h.example:5000/v3";
    let text = "etcd@backup1.h.example:22222 https://s3.h.example:9000/path1 eu-south-1 STANDARD_IA standard etcdbackup0001 \
                store:etcd/prod open /etc/backup-key-1 /config/known_hosts1 minio0000:etcd-backups-0000/prod 12345678-1234 \
                2222 https://keystone1.h.example:5000/v3";
    assert_eq!(of(config).clean(text), text);
    let environment = [
        ("RCLONE_CONFIG_KEY_STORE_ENDPOINT", "https://s3.h.example:9000/path1"),
        ("RCLONE_CONFIG_STORE_REGION", "eu-south-1"),
        ("AWS_PROFILE", "etcdbackup0001"),
        ("OS_AUTH_URL", "https://keystone1.h.example:5000/v3"),
        ("USER", "etcd"),
        ("HOME", "/etc"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/backup-key-1"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/config/known_hosts1"),
    ];
    assert_eq!(with(&environment).clean(text), text);
}

#[test]
fn variables_are_known_whatever_they_are_called() {
    for (name, value) in [
        ("RCLONE_CONFIG_X_FOO", "hunter2hunter2"),
        ("RCLONE_CONFIG_X_URL", "https://etcd:hunter2hunter2@h.example/"),
        ("RCLONE_S3_SSE_CUSTOMER_KEY", "hunter2hunter2"),
        ("RCLONE_PASSWORD_COMMAND", "vault -token hunter2hunter2"),
        ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a;AccountKey=hunter2hunter2;EndpointSuffix=h.example"),
        ("HTTPS_PROXY", "http://etcd:hunter2hunter2@proxy.h.example:3128"),
        ("https_proxy", "etcd:hunter2hunter2@proxy.h.example:3128"),
        ("IDENTITY_HEADER", "hunter2hunter2"),
        ("OS_PASSWORD", "hunter2hunter2"),
        ("ST_KEY", "hunter2hunter2"),
    ] {
        assert_eq!(with(&[(name, value)]).clean("etcd with hunter2hunter2 a"), "etcd with *** a", "{name}");
    }
}

#[test]
fn a_secret_inside_a_value_is_known() {
    for line in [
        r#"token = {"access_token":"hunter2hunter2","token_type":"Bearer","expiry":"2026-01-01"}"#,
        r#"service_account_credentials = {"private_key":"--BEGIN\nhunter2hunter2\n--END\n","client_email":"a@h.example"}"#,
        "remote = :s3,secret_access_key=hunter2hunter2,region=eu-south-1:bucket",
        "connection_string = AccountName=a;AccountKey=hunter2hunter2",
        "ssh = sshpass -p hunter2hunter2 ssh etcd@h",
        "ssh = sshpass -phunter2hunter2 ssh etcd@h",
        "bearer_token_command = x --password=hunter2hunter2",
        "bearer_token_command = sh -c 'x --password hunter2hunter2'",
        "headers = X-Purpose,backup,Authorization,hunter2hunter2",
        // As rclone 1.75.2 obscured it.
        "pass = V0WKrEn0efDwZHipH7_yHct3_3TRIwQd2Laz_SBs",
        "unheard_of = V0WKrEn0efDwZHipH7_yHct3_3TRIwQd2Laz_SBs",
    ] {
        assert_eq!(of(line).clean("Basic a@h.example hunter2hunter2 bucket"), "Basic a@h.example *** bucket", "{line}");
    }
    assert_eq!(of("pass = a://b,c=d:e").clean("<a://b,c=d:e>"), "<***>");
    assert_eq!(of("pass = {hunter2").clean("<{hunter2>"), "<***>");
    let key = of("key_pem = -----BEGIN-----\\nhunter2hunter2hunter2\\n-----END-----");
    assert_eq!(key.clean("hunter2hunter2hunter2"), "***");
}

#[test]
fn the_words_of_a_command_are_secrets_and_its_program_is_none() {
    for (command, secrets) in [
        (
            r#"curl -u svc:hunter2hunter2 -H "X-Tok: s3cr3tvalue99" https://h.example/token"#,
            &["svc:hunter2hunter2", "hunter2hunter2", "X-Tok: s3cr3tvalue99", "s3cr3tvalue99"][..],
        ),
        (r#"curl -H "Authorization: Basic c3ZjOmh1bnRlcjI=""#, &["c3ZjOmh1bnRlcjI=", "c3ZjOmh1bnRlcjI"]),
        (r#"ssh -o ProxyCommand="nc --proxy-auth user:topsecret" etcd@h.example"#, &["user:topsecret", "topsecret"]),
        ("curl -uhunter2hunter2", &["hunter2hunter2"]),
    ] {
        let redactor = of(&format!("bearer_token_command = {command}"));
        for secret in secrets {
            let cleaned = redactor.clean(&format!("<{secret}>"));
            assert!(!cleaned.contains(secret) && cleaned.contains("***"), "{command}: {cleaned}");
        }
        for whole in [command.to_owned(), quoted(command)] {
            assert_eq!(redactor.clean(&format!("using \"{whole}\": no")), "using \"***\": no", "{command}");
        }
        let stays =
            "curl ssh: authorization header is malformed, ProxyCommand of https://h.example/token etcd@h.example";
        assert_eq!(redactor.clean(stays), stays, "{command}");
    }
    let redactor = of("bearer_token_command = /usr/bin/get-a-token");
    assert_eq!(redactor.clean("fork/exec /usr/bin/get-a-token: no"), "fork/exec /usr/bin/get-a-token: no");
}

#[test]
fn the_name_of_a_remote_makes_no_secret_of_its_address() {
    let text = "eu-central-1 https://h.example:9000 client0001 AKIA0000000000";
    let unknown = with(&[
        ("RCLONE_CONFIG_MONKEY_REGION", "eu-central-1"),
        ("RCLONE_CONFIG_MONKEY_ENDPOINT", "https://h.example:9000"),
        ("RCLONE_CONFIG_MONKEY_ACCESS_KEY_ID", "AKIA0000000000"),
    ]);
    assert_eq!(unknown.clean(text), "eu-central-1 https://h.example:9000 client0001 ***");
    let known = with(&[
        ("RCLONE_CONFIG_MONKEY_TYPE", "s3"),
        ("RCLONE_CONFIG_MONKEY_REGION", "eu-central-1"),
        ("RCLONE_CONFIG_MONKEY_CLIENT_ID", "client0001"),
        ("RCLONE_CONFIG_MONKEY_ACCESS_KEY_ID", "AKIA0000000000"),
    ]);
    assert_eq!(known.clean(text), "eu-central-1 https://h.example:9000 client0001 ***");
    // Of two remotes, the secret word may be the option's.
    let both =
        [("RCLONE_CONFIG_A_TYPE", "x"), ("RCLONE_CONFIG_A_PASS_TYPE", "x"), ("RCLONE_CONFIG_A_PASS_X", "hunterhunter")];
    assert_eq!(with(&both).clean("hunterhunter"), "***");
}

#[test]
fn an_encrypted_configuration_is_known_by_its_sections() {
    let sections =
        Sections::from([("a".into(), BTreeMap::from([("secret_access_key".into(), "hunter2hunter2".into())]))]);
    assert_eq!(of("RCLONE_ENCRYPT_V0:\nabcdefgh").and_sections(&sections).clean("x hunter2hunter2"), "x ***");
}

#[test]
fn a_short_secret_is_hidden_as_a_word_only() {
    let redactor = of("user = etcd\npass = etcd");
    assert_eq!(
        redactor.clean("etcd-backup of /etcd-1/ and etcdutl: password etcd, 'etcd'"),
        "etcd-backup of /etcd-1/ and etcdutl: password ***, '***'"
    );
    assert_eq!(of("pass = abc").clean("abc"), "abc");
}

#[test]
fn a_new_token_is_hidden_where_it_is_marked() {
    let cleaned = of("").clean(r#"{"access_token":"hunter2hunter2","token_type":"Bearer"} Bearer hunter2hunter2, x"#);
    assert_eq!(cleaned, r#"{"access_token":"***","token_type":"Bearer"} Bearer ***, x"#);
}
