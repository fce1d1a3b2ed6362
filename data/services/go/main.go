// Command booking takes pizza orders for 15-minute slots of 100,000 roubles each, in the way that BOOKING names:
//
//	read-then-write         reads what is booked, checks, and writes the sum (the default)
//	select-for-update       the same, with the slot's row locked from the read on
//	serializable-retry      the same at SERIALIZABLE, in five attempts
//	redis-lua-serializable  a script in Redis checks and books; the order is saved at SERIALIZABLE, in five attempts,
//	                        and the place is released when that fails
//
// and mended:
//
//	conditional-update         one UPDATE checks and books
//	serializable-retry-mended  what is retried is told by its SQLSTATE, however it is wrapped
//	redis-lua-idempotent       a place is booked and released once, and kept while nobody knows whether the order is saved
//
// DATABASE_URL, REDIS_URL (for redis-...) and PORT (0 for any) configure it; ../booking.sql is its schema.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/gomodule/redigo/redis"
	"github.com/lib/pq"
)

// Order is what a customer asks for.
type Order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Slot     string `json:"slot"`
	Amount   int    `json:"amount"`
}

// Slot is how full one is: Sold is the sum of its orders, which Booked should be.
type Slot struct {
	ID       string `json:"slot"`
	Capacity int    `json:"capacity"`
	Booked   int    `json:"booked"`
	Sold     int    `json:"sold"`
}

var (
	errFull     = errors.New("the slot is full")
	errNotFound = errors.New("there is no such slot or pending order")
)

// Service books in one of the ways.
type Service struct {
	db     *sql.DB
	redis  *redis.Pool
	create func(context.Context, Order) error
	// release gives a cancelled order's place in Redis back; nil where places are in PostgreSQL.
	release func(context.Context, Order) error
}

// NewService gives nil for a way to book that it does not know.
func NewService(db *sql.DB, pool *redis.Pool, booking string) *Service {
	s := &Service{db: db, redis: pool}
	switch booking {
	case "", "read-then-write":
		s.create = s.readThenWrite("", sql.LevelDefault)
	case "select-for-update":
		s.create = s.readThenWrite(" FOR UPDATE", sql.LevelDefault)
	case "serializable-retry":
		s.create = retrying(isSerializationFailure, s.readThenWrite("", sql.LevelSerializable))
	case "redis-lua-serializable":
		s.create, s.release = s.reserveThenSave, s.releaseAsDocumented
	case "conditional-update":
		s.create = s.conditionalUpdate
	case "serializable-retry-mended":
		s.create = retrying(isRetryable, s.readThenWrite("", sql.LevelSerializable))
	case "redis-lua-idempotent":
		s.create, s.release = s.reserveOnceThenSave, s.releaseOnce
	default:
		return nil
	}
	return s
}

func (s *Service) inTx(ctx context.Context, level sql.IsolationLevel, work func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
	if err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	defer tx.Rollback()
	if err := work(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

func (s *Service) cancel(ctx context.Context, id string) error {
	order := Order{ID: id}
	err := s.inTx(ctx, sql.LevelDefault, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `UPDATE orders SET status = 'cancelled' WHERE id = $1 AND status = 'pending'
			RETURNING slot, amount`, id).Scan(&order.Slot, &order.Amount)
		if errors.Is(err, sql.ErrNoRows) {
			return errNotFound
		}
		if err == nil && s.release == nil {
			_, err = tx.ExecContext(ctx, `UPDATE slots SET booked = booked - $1 WHERE id = $2`, order.Amount, order.Slot)
		}
		return err
	})
	if err == nil && s.release != nil {
		return s.release(ctx, order)
	}
	return err
}

func (s *Service) slot(ctx context.Context, id string) (Slot, error) {
	slot := Slot{ID: id}
	err := s.db.QueryRowContext(ctx, `SELECT capacity, booked, (SELECT coalesce(sum(amount), 0) FROM orders
		WHERE slot = slots.id AND status = 'pending') FROM slots WHERE id = $1`, id).
		Scan(&slot.Capacity, &slot.Booked, &slot.Sold)
	if errors.Is(err, sql.ErrNoRows) {
		return slot, errNotFound
	}
	if err == nil && s.release != nil {
		slot.Booked, err = s.bookedInRedis(ctx, id)
	}
	return slot, err
}

func (s *Service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		var order Order
		if err := json.NewDecoder(r.Body).Decode(&order); err != nil || r.Method != http.MethodPost || order.Amount <= 0 {
			answer(w, http.StatusBadRequest, map[string]string{"reason": "POST an order with id, customer, slot and amount"})
			return
		}
		answerResult(w, http.StatusCreated, order, s.create(r.Context(), order))
	})
	mux.HandleFunc("/orders/", func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/orders/"), "/cancel")
		if r.Method != http.MethodPost || r.URL.Path != "/orders/"+id+"/cancel" {
			answer(w, http.StatusBadRequest, map[string]string{"reason": "POST /orders/ID/cancel"})
			return
		}
		answerResult(w, http.StatusOK, map[string]string{"id": id, "status": "cancelled"}, s.cancel(r.Context(), id))
	})
	mux.HandleFunc("/slots/", func(w http.ResponseWriter, r *http.Request) {
		slot, err := s.slot(r.Context(), strings.TrimPrefix(r.URL.Path, "/slots/"))
		answerResult(w, http.StatusOK, slot, err)
	})
	return mux
}

// answerResult answers with the result, or with the reason why there is none.
func answerResult(w http.ResponseWriter, status int, result interface{}, err error) {
	var refused *pq.Error
	switch {
	case err == nil:
		answer(w, status, result)
	case errors.Is(err, errFull):
		answer(w, http.StatusConflict, map[string]string{"reason": err.Error()})
	case errors.As(err, &refused) && (isRetryable(err) || refused.Code == "23505"):
		answer(w, http.StatusConflict, map[string]string{"reason": fmt.Sprintf("%v (%s)", err, refused.Code)})
	case errors.Is(err, errNotFound):
		answer(w, http.StatusNotFound, map[string]string{"reason": err.Error()})
	default:
		log.Print(err)
		answer(w, http.StatusInternalServerError, map[string]string{"reason": err.Error()})
	}
}

func answer(w http.ResponseWriter, status int, body interface{}) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func main() {
	db, err := sql.Open("postgres", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(25)
	db.SetMaxIdleConns(10)
	pool := &redis.Pool{MaxIdle: 10, Dial: func() (redis.Conn, error) { return redis.DialURL(os.Getenv("REDIS_URL")) }}
	service := NewService(db, pool, os.Getenv("BOOKING"))
	if service == nil {
		log.Fatalf("unknown BOOKING %q", os.Getenv("BOOKING"))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal(http.Serve(listener, service.routes()))
}
