# coding: big5
TEXT = '中文'
變數 = TEXT
