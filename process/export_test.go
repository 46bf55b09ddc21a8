package process

// VerifyBooked is VerifyWith with so few events of histories at a time.
var VerifyBooked = verifyBy
