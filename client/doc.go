// Package oei is the Go client of OEI-MS: a method for every operation of its REST interface, with
// a login that renews itself, retries, iterators over lists and exports, and live readings and
// alarms that survive restarts of the server.
//
//	c, err := oei.Dial(ctx, "https://oei.example", oei.Password("admin", password))
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer c.Close()
//	for sensor, err := range c.Sensors(ctx, nil) {
//		if err != nil {
//			log.Fatal(err)
//		}
//		fmt.Println(sensor.ID, sensor.Name, sensor.Unit)
//	}
//	history, err := c.History(ctx, oei.HistoryParams{
//		SensorID: []oei.ID{1},
//		Start:    time.Now().AddDate(0, 0, -30),
//		End:      time.Now(),
//	})
//	…
//	for message, err := range c.Live(ctx, oei.FromGateway(1), oei.Alarms(), oei.FillGaps()) {
//		if err != nil {
//			log.Fatal(err) // it does not reconnect: ctx is done, or the server does not admit it
//		}
//		switch m := message.(type) {
//		case oei.LiveReading:
//			fmt.Println(m.SensorID, m.Timestamp, m.Value)
//		case oei.LiveAlarm:
//			fmt.Println(m.Event.Kind, m.Event.Message)
//		}
//	}
//
// # Errors
//
// An error answer is a [*Problem], which errors.Is compares with [ErrNotFound], [ErrConflict] and
// so on. A call whose answer was lost returns the error of net/http; an error of the context stays
// visible to errors.Is.
//
// # Optional and nullable members
//
// An optional member is a pointer: new(value) makes one. A member that may be null is a
// [Nullable]: [Value] and [Null] make one, its methods Get and IsNull read it.
//
// # Retries
//
// A call whose answer is lost, or is 502, 503 or 504, is sent again when that is harmless: when its
// method is idempotent or it carries an Idempotency-Key, which WriteReadings sets by itself. A call
// that the server refused with 429, or that never reached it, is always sent again. The client
// waits for Retry-After, and longer after each failure, but never beyond the deadline of the
// context.
//
// A Client may be used by several goroutines. It never sends a login to another origin than the one
// it was dialed for.
package oei
