//! Multipart uploads.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_part_does_not_change_during_completion() {
    let server = TestServer::start().await;
    let sdk = server.sdk(&server.url, Addressing::Path);
    for _ in 0..4 {
        let mut upload = Upload::start(&sdk, "contended").await;
        for _ in 0..3 {
            upload.add(vec![b'a'; 5 * MIB]).await;
        }
        upload.add(vec![b'z'; 10]).await;
        let replace = async {
            let mut answers = Vec::new();
            for number in [3, 4, 2, 1] {
                answers.push(upload.put_part(number, vec![b'b'; 100]).await.err());
            }
            answers
        };
        let (completed, replaced) = tokio::join!(upload.complete(), replace);
        for error in replaced.into_iter().flatten() {
            assert_eq!(error, "NoSuchUpload");
        }
        match completed {
            Ok(_) => {
                let mut expected = vec![b'a'; 15 * MIB];
                expected.extend([b'z'; 10]);
                assert!(read(&sdk, "contended").await == expected, "the object has other content");
                sdk.delete_object().bucket("tintype").key("contended").send().await.expect("delete");
            }
            // A part was replaced before the completion.
            Err(error) => {
                assert!(["InvalidPart", "EntityTooSmall"].contains(&error.as_str()), "{error}");
                assert_eq!(
                    code(sdk.get_object().bucket("tintype").key("contended").send().await),
                    "NoSuchKey"
                );
            }
        }
    }
}

#[tokio::test]
async fn multipart_objects() {
    let server = TestServer::start().await;
    let sdk = server.sdk(&server.url, Addressing::Path);
    let mut upload = Upload::start(&sdk, "big").await;
    upload.add(vec![b'a'; 5 * MIB]).await;
    upload.add(b"end".to_vec()).await;
    let etag = upload.complete().await.expect("complete");
    // A client that received no response repeats its request.
    assert_eq!(upload.complete().await, Ok(etag.clone()));
    let mut other = Upload { parts: upload.parts[1..].to_vec(), ..upload };
    assert_eq!(other.complete().await, Err("NoSuchUpload".into()));
    other.id = uuid::Uuid::new_v4().simple().to_string();
    assert_eq!(other.complete().await, Err("NoSuchUpload".into()));

    let get = |number| sdk.get_object().bucket("tintype").key("big").part_number(number);
    let part = get(2).send().await.expect("a part");
    assert_eq!(
        (part.parts_count, part.e_tag(), part.content_length),
        (Some(2), Some(etag.as_str()), Some(3))
    );
    assert_eq!(part.content_range(), Some("bytes 5242880-5242882/5242883"));
    assert_eq!(&part.body.collect().await.expect("a body").to_vec()[..], b"end");
    assert_eq!(code(get(3).send().await), "InvalidPart");
    assert_eq!(code(get(1).range("bytes=0-1").send().await), "InvalidRequest");
    let head = sdk.head_object().bucket("tintype").key("big").part_number(1).send().await.expect("head");
    assert_eq!((head.parts_count, head.content_length), (Some(2), Some(5 * MIB as i64)));
    let attributes = sdk.get_object_attributes().bucket("tintype").key("big");
    let attributes = attributes
        .object_attributes(ObjectAttributes::ObjectParts)
        .object_attributes(ObjectAttributes::ObjectSize)
        .send()
        .await
        .expect("attributes");
    assert_eq!(attributes.object_size, Some(5 * MIB as i64 + 3));
    assert_eq!(attributes.object_parts().expect("parts").total_parts_count, Some(2));

    let copied = Upload::start(&sdk, "copied").await;
    let copy = |range: &str| {
        let copy = sdk.upload_part_copy().bucket("tintype").key("copied").upload_id(&copied.id);
        copy.part_number(1).copy_source("tintype/big").copy_source_range(range)
    };
    assert_eq!(code(copy("bytes=0-5242883").send().await), "InvalidRange");
    copy("bytes=0-5242882").send().await.expect("the whole object");

    let listed = sdk.list_multipart_uploads().bucket("tintype").send().await.expect("list");
    assert_eq!(listed.uploads().len(), 1);
    copied.put_part(10_001, Vec::new()).await.expect_err("beyond the maximum");
}

#[tokio::test]
async fn a_damaged_part_makes_no_object() {
    let server = TestServer::start().await;
    let sdk = server.sdk(&server.url, Addressing::Path);
    let mut upload = Upload::start(&sdk, "damaged").await;
    upload.add(b"content".to_vec()).await;
    let path = server.folder.path().join("store/uploads").join(&upload.id).join("00001");
    let mut file = std::fs::read(&path).expect("the part");
    file[0] ^= 1;
    std::fs::write(&path, file).expect("write");
    assert_eq!(upload.complete().await, Err("InvalidPart".into()));
    assert_eq!(code(sdk.get_object().bucket("tintype").key("damaged").send().await), "NoSuchKey");
    upload.parts.clear();
    upload.add(b"content".to_vec()).await;
    upload.complete().await.expect("complete");
}
