// Carries out the statements of POST /run?sql=...&sql=... in one transaction: $1 is what the query before has found.
// With `attempts`, at SERIALIZABLE, and so often while it is refused.
package main

import (
	"context"
	"database/sql"
	"errors"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/lib/pq"
)

func run(ctx context.Context, db *sql.DB, statements []string, level sql.IsolationLevel) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var found int
	for _, text := range statements {
		var values []interface{}
		if strings.Contains(text, "$1") {
			values = append(values, found)
		}
		if !strings.HasPrefix(text, "select") {
			if _, err := tx.ExecContext(ctx, text, values...); err != nil {
				return err
			}
		} else if err := tx.QueryRowContext(ctx, text, values...).Scan(&found); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func isRefusal(err error) bool {
	var refused *pq.Error
	return errors.As(err, &refused) && (refused.Code == "40001" || refused.Code == "40P01")
}

func main() {
	db, err := sql.Open("postgres", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(25)
	db.SetMaxIdleConns(10)
	http.HandleFunc("/run", func(w http.ResponseWriter, r *http.Request) {
		words, level := r.URL.Query(), sql.LevelDefault
		attempts, _ := strconv.Atoi(words.Get("attempts"))
		if attempts > 0 {
			level = sql.LevelSerializable
		}
		err := run(r.Context(), db, words["sql"], level)
		for ; isRefusal(err) && attempts > 1; attempts-- {
			err = run(r.Context(), db, words["sql"], level)
		}
		if isRefusal(err) {
			w.WriteHeader(http.StatusConflict)
		} else if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
