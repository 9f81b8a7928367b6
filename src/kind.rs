//! What a message is: calendaring, automatic reply, bounce, read receipt, normal.
