-- What did not end a job is told, too: 'warn' beside 'error'.
ALTER TABLE job_errors ADD COLUMN level TEXT NOT NULL DEFAULT 'error';
