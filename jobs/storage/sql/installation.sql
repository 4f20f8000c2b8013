-- name: add_files_token(token)$
-- Nothing where there is one. While another transaction adds one, it waits for what becomes of that.
INSERT INTO installation (files_token) VALUES (:token) ON CONFLICT DO NOTHING RETURNING files_token;

-- name: files_token()$
SELECT files_token FROM installation;
