// Command example prints the latest reading of every sensor. It is the Go program of quickstart.md.
package main

import (
	"context"
	"fmt"
	"log"

	oei "github.com/oei-ms/oei-ms/client"
)

func main() {
	ctx := context.Background()
	c, err := oei.Dial(ctx, "http://localhost:8000",
		oei.Password("admin", "correct horse battery"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for reading, err := range c.LatestReadings(ctx, nil) {
		if err != nil {
			log.Fatal(err)
		}
		value := "no value"
		if !reading.Value.IsNull() {
			value = fmt.Sprint(reading.Value.MustGet())
		}
		fmt.Println(reading.SensorID, reading.Timestamp, value, reading.Quality)
	}
}
