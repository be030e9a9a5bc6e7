//! Messages over Amazon SQS and SNS.
